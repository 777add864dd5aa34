import type { TransportProtocol } from '../../kernel/nft/field.ts';
import type { IpFamily } from '../../net/ip.ts';
import type { AttachmentRecord } from '../attachments/attachment-record.ts';
import { CNI_CODE, CniError } from '../protocol/cni-error.ts';
import type { Attachment } from '../protocol/request.ts';
import type { PortMapping } from '../protocol/runtime-config.ts';

/** One port of the node that leads to a pod, for one address family. */
export interface HostPort {
  readonly family: IpFamily;
  readonly protocol: TransportProtocol;
  /** The node's address that it holds for; undefined: every one. */
  readonly hostIp: string | undefined;
  readonly hostPort: number;
  readonly podIp: string;
  readonly podPort: number;
}

const PROTOCOLS = { tcp: 'TCP', udp: 'UDP', sctp: 'SCTP' } as const;
const UNSPECIFIED = new Set(['0.0.0.0', '::']);

/** What the pod asks for, in each family that it has an address of. Throws CniError 7. */
export function hostPortsOf(record: AttachmentRecord): HostPort[] {
  return record.runtimeConfig.portMappings.flatMap((mapping) => {
    const found = record.addresses
      .filter(({ ip }, index, all) => all.findIndex((other) => other.ip.family === ip.family) === index)
      .filter(({ ip }) => mapping.hostIp === undefined || mapping.hostIp.family === ip.family)
      .map(({ ip }) => hostPort(mapping, ip.family, ip.toString()));
    // 0.0.0.0 and :: are all addresses of their family, which may be none; one address is meant to be reached.
    if (found.length === 0 && mapping.hostIp !== undefined && !UNSPECIFIED.has(mapping.hostIp.toString())) {
      throw new CniError(
        CNI_CODE.invalidConfiguration,
        `runtimeConfig.portMappings: hostIP ${mapping.hostIp.toString()} of hostPort ${mapping.hostPort}/` +
          `${mapping.protocol} is IPv${mapping.hostIp.family}, of which the pod has no address`,
        'leave hostIP out, or name an address of a family that the cluster gives to pods',
      );
    }
    return found;
  });
}

function hostPort(mapping: PortMapping, family: IpFamily, podIp: string): HostPort {
  const address = mapping.hostIp?.toString();
  return {
    family,
    protocol: PROTOCOLS[mapping.protocol],
    hostIp: address === undefined || UNSPECIFIED.has(address) ? undefined : address,
    hostPort: mapping.hostPort,
    podIp,
    podPort: mapping.containerPort,
  };
}

/** `127.0.0.1:8080/tcp`, `[::1]:8080/tcp`, `8080/tcp`. */
export function describeHostPort({ hostIp, hostPort: port, protocol, family }: HostPort): string {
  const address = hostIp === undefined ? '' : `${family === 4 ? hostIp : `[${hostIp}]`}:`;
  return `${address}${port}/${protocol.toLowerCase()}`;
}

interface Owner extends Attachment {
  readonly pod: string | undefined;
}

/** Whose a node's ports are. */
export class HostPortClaims {
  readonly #claims = new Map<string, { readonly port: HostPort; readonly owner: Owner }[]>();

  /** Throws CniError 11, which names both pods, when one of the ports is another's; nothing is claimed then. */
  claim(owner: Owner, ports: readonly HostPort[]): void {
    // By key: a pod may ask for thousands, and each is to be compared with those alone that it could meet.
    const own = new Map<string, HostPort[]>();
    for (const port of ports) {
      const key = claimKey(port);
      const before = own.get(key) ?? [];
      if (before.some((other) => meet(port, other))) throw conflict(port, owner, owner);
      own.set(key, [...before, port]);
      const taken = this.#claims
        .get(key)
        ?.find((other) => meet(port, other.port) && !isSame(owner, other.owner));
      if (taken !== undefined) throw conflict(port, owner, taken.owner);
    }
    this.release(owner, ports);
    for (const port of ports) {
      const key = claimKey(port);
      this.#claims.set(key, [...(this.#claims.get(key) ?? []), { port, owner }]);
    }
  }

  release(owner: Attachment, ports: readonly HostPort[]): void {
    for (const key of new Set(ports.map(claimKey))) {
      const left = (this.#claims.get(key) ?? []).filter((claim) => !isSame(claim.owner, owner));
      if (left.length === 0) this.#claims.delete(key);
      else this.#claims.set(key, left);
    }
  }
}

const claimKey = ({ family, protocol, hostPort: port }: HostPort): string => `${family} ${protocol} ${port}`;

/** Whether there are packets that both are for, which have the same key. */
const meet = (one: HostPort, other: HostPort): boolean =>
  one.hostIp === undefined || other.hostIp === undefined || one.hostIp === other.hostIp;

const isSame = (one: Attachment, other: Attachment): boolean =>
  one.containerId === other.containerId && one.ifName === other.ifName;

const describeOwner = ({ pod, containerId }: Owner): string =>
  pod === undefined ? `container ${containerId}` : `pod ${pod} (container ${containerId})`;

function conflict(port: HostPort, owner: Owner, holder: Owner): CniError {
  const what = `hostPort ${describeHostPort(port)} of ${describeOwner(owner)}`;
  if (isSame(owner, holder)) {
    return new CniError(
      CNI_CODE.invalidConfiguration,
      `${what} is asked for twice`,
      'name each hostPort once',
    );
  }
  return new CniError(
    CNI_CODE.tryAgainLater,
    `${what} is taken by ${describeOwner(holder)}`,
    'the runtime tries again by itself, which helps if the other one is ending; else choose another hostPort or node',
  );
}
