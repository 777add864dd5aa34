import type { ConntrackKernel } from '../../kernel/conntrack/objects.ts';
import { protocolNumber } from '../../kernel/nft/field.ts';
import type { HostPort } from './host-port.ts';

// UDP has no end: a client that keeps sending from one port would go on reaching what its first packet reached.

const UDP = protocolNumber('UDP');

/** Forgets UDP flows that came by these ports to their pod, which is gone. */
export function forgetFlowsToPod(conntrack: ConntrackKernel, ports: readonly HostPort[]): void {
  forget(conntrack, ports, (port, reached) => reached === port.podIp);
}

/** Forgets UDP flows to these ports that began before they led to the pod. */
export function forgetEarlierFlows(
  conntrack: ConntrackKernel,
  ports: readonly HostPort[],
  nodeAddresses: () => ReadonlySet<string>,
): void {
  const udp = ports.filter(({ protocol }) => protocol === 'UDP');
  if (udp.length === 0) return;
  const own = nodeAddresses();
  forget(conntrack, udp, (port, reached, asked) => {
    const meant = port.hostIp === undefined ? own.has(asked) : asked === port.hostIp;
    return meant && reached !== port.podIp;
  });
}

function forget(
  conntrack: ConntrackKernel,
  ports: readonly HostPort[],
  isStale: (port: HostPort, reached: string, asked: string) => boolean,
): void {
  for (const port of ports) {
    if (port.protocol !== 'UDP') continue;
    const filter = { family: port.family, protocol: UDP, destinationPort: port.hostPort };
    for (const flow of conntrack.list(filter)) {
      if (isStale(port, flow.reply.source, flow.original.destination)) conntrack.delete(flow);
    }
  }
}
