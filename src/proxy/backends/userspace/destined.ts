import type { RemoteInfo } from 'node:dgram';
import type { Socket } from 'node:net';
import type { ConntrackKernel } from '../../../kernel/conntrack/objects.ts';
import type { Ip, IpFamily } from '../../../net/ip.ts';
import type { EndpointSet } from './balancer.ts';
import { originalDestination } from './original-destination.ts';
import type { ServedPort, ServiceTable } from './service-table.ts';

/** Whom a connection is for, and from which of its endpoints it gets one. */
export interface Destined {
  readonly served: ServedPort;
  readonly set: EndpointSet;
}

/** Undefined: for nobody. */
export type DestinedTcp = (client: Socket) => Destined | undefined;

interface DestinedFlow extends Destined {
  /** Nobody takes it: the rules are to judge its next datagram anew. */
  readonly refuse: () => void;
  /** Its session has ended. */
  readonly ended: () => void;
}

export type DestinedUdp = (client: RemoteInfo) => DestinedFlow | undefined;

export interface LedOptions {
  readonly family: IpFamily;
  readonly table: ServiceTable;
  /** Of connections that rules lead to this port of the process. */
  readonly set: EndpointSet;
}

/** By where the client wanted to go before a rule led it here. */
export function ledTcp({ family, table, set }: LedOptions): DestinedTcp {
  return (client) => {
    const destination = originalDestination(client, family);
    if (destination === undefined) return undefined;
    const served = table.find('TCP', family, destination.address, destination.port);
    return served === undefined ? undefined : { served, set };
  };
}

export interface LedUdpOptions extends LedOptions {
  readonly address: Ip;
  readonly port: number;
  readonly conntrack: ConntrackKernel;
  /** Whether another mode has taken over, and is to have each flow when its session ends. */
  readonly isRetired: () => boolean;
}

/** IANA's number. */
const UDP = 17;

/**
 * Where a client wanted to go stands in connection tracking, under the tuple that answers have. Two service ports
 * called from one port of a client are kept apart by the kernel: it gives the second one another source port.
 */
export function ledUdp(options: LedUdpOptions): DestinedUdp {
  const { family, table, set, address, port, conntrack, isRetired } = options;
  return (client) => {
    const destination = client.address.replace(/%.*$/, '');
    const reply = {
      source: address.toString(),
      sourcePort: port,
      destination,
      destinationPort: client.port,
    };
    const flow = conntrack.findByReply({ family, protocol: UDP, reply });
    // Somebody who calls this port itself: a rule keeps others than the clients of Services away from it.
    if (flow === undefined) return undefined;
    const refuse = (): void => void conntrack.delete(flow);
    const served = table.find('UDP', family, flow.original.destination, flow.original.destinationPort);
    if (served === undefined) {
      // The service port is gone, and the flow would lead here for as long as its client goes on.
      refuse();
      return undefined;
    }
    return { served, set, refuse, ended: () => (isRetired() ? refuse() : undefined) };
  };
}
