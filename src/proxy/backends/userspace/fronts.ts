import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { bindUdp, listenTcp, localPort } from '../../../kernel/netns/listen.ts';
import type { ConntrackKernel } from '../../../kernel/conntrack/objects.ts';
import type { Logger } from '../../../log/logger.ts';
import type { Ip, IpFamily } from '../../../net/ip.ts';
import type { ServiceEndpoint } from '../../services/service-port.ts';
import { ENDPOINT_SETS, type EndpointSet } from './balancer.ts';
import { ledTcp, ledUdp } from './destined.ts';
import type { FoundPort } from './fixed-rules.ts';
import type { FrontPorts } from './rules.ts';
import type { ServiceTable } from './service-table.ts';
import { DIAL_TIMEOUTS_MS, UDP_IDLE_TIMEOUT_MS, type PortRange, type UserspaceSettings } from './settings.ts';
import { TcpFront } from './tcp-front.ts';
import { UdpFront } from './udp-front.ts';

/** The ports of this process in one address family; real ones, and such as tests have. */
export interface Fronts {
  readonly ports: FrontPorts;
  /** Connections and sessions that are carried now. */
  readonly active: number;
  /** No rule leads here any more. `drained` is called when nothing is left to be carried; at once, perhaps. */
  retire(drained: () => void): void;
  close(): void;
}

export interface FrontsRequest {
  readonly family: IpFamily;
  readonly address: Ip;
  readonly table: ServiceTable;
  readonly nodeIps: readonly Ip[];
  /** Ports that an earlier process had: flows and rules lead there still. */
  readonly former: readonly FoundPort[];
}

export type OpenFronts = (request: FrontsRequest) => Promise<Fronts>;

export interface FrontsOptions {
  readonly settings: UserspaceSettings;
  readonly conntrack: ConntrackKernel;
  readonly logger: Logger;
  readonly netns: number | undefined;
}

/** What somaxconn allows of it is how many connections wait to be accepted. */
const BACKLOG = 4096;
/** For so long a port that no rule leads to any more accepts what comes: longer than a SYN takes that is sent again. */
const LINGER_MS = 3000;

type Open = (port: number) => number;

/** Opens sockets in the network namespace. Throws PROXY_ADDRESS, PORT_RANGE. */
export function frontsOpener(options: FrontsOptions): OpenFronts {
  return async (request) => {
    const fronts = new SocketFronts();
    try {
      for (const protocol of ['TCP', 'UDP'] as const) {
        for (const set of ENDPOINT_SETS) await fronts.add(protocol, set, request, options);
      }
      return fronts;
    } catch (error) {
      fronts.close();
      throw error;
    }
  };
}

class SocketFronts implements Fronts {
  readonly ports = { TCP: { all: 0, local: 0 }, UDP: { all: 0, local: 0 } };
  readonly #tcp: TcpFront[] = [];
  readonly #udp: UdpFront[] = [];
  #drained: (() => void) | undefined;
  #retired = false;
  #lingering: NodeJS.Timeout | undefined;

  get active(): number {
    return [...this.#tcp, ...this.#udp].reduce((sum, front) => sum + front.active, 0);
  }

  async add(
    protocol: keyof FrontPorts,
    set: EndpointSet,
    { family, address, table, nodeIps, former }: FrontsRequest,
    { settings, conntrack, logger, netns }: FrontsOptions,
  ): Promise<void> {
    const inNetns = netns === undefined ? {} : { netns };
    const open: Open = (port) =>
      protocol === 'TCP'
        ? listenTcp(address, port, { ...inNetns, backlog: BACKLOG })
        : bindUdp(address, port, inNetns);
    const wanted = former.find(
      (one) => one.protocol === protocol && one.set === set && one.address === address.toString(),
    );
    const fd = openPort(open, wanted?.port, settings.portRange, address);
    const port = localPort(fd);
    this.ports[protocol][set] = port;
    const isEntrance = (endpoint: ServiceEndpoint): boolean =>
      table.isEntrance(protocol, family, endpoint, nodeIps);
    const front = { family, logger, netns, isEntrance, changed: () => this.#tellDrained() };
    if (protocol === 'TCP') {
      const destined = ledTcp({ family, table, set });
      this.#tcp.push(await TcpFront.open(fd, { ...front, destined, timeoutsMs: DIAL_TIMEOUTS_MS }));
      return;
    }
    const idleMs = settings.udpIdleTimeoutMs ?? UDP_IDLE_TIMEOUT_MS;
    const isRetired = (): boolean => this.#retired;
    const destined = ledUdp({ family, table, set, address, port, conntrack, isRetired });
    this.#udp.push(new UdpFront(fd, { ...front, destined, idleMs }));
  }

  retire(drained: () => void): void {
    this.#drained = drained;
    this.#retired = true;
    // Connections that rules led here just before they went wait to be accepted, one in each turn of the event loop
    // (libuv 1.46), and would be reset by the socket's end.
    this.#lingering = setTimeout(() => {
      for (const front of this.#tcp) front.stop();
      this.#lingering = undefined;
      this.#tellDrained();
    }, LINGER_MS);
  }

  close(): void {
    clearTimeout(this.#lingering);
    this.#lingering = undefined;
    for (const front of [...this.#tcp, ...this.#udp]) front.close();
    this.#tellDrained();
  }

  #tellDrained(): void {
    if (this.active > 0 || this.#lingering !== undefined) return;
    this.#drained?.();
    this.#drained = undefined;
  }
}

function openPort(open: Open, former: number | undefined, range: PortRange | undefined, address: Ip): number {
  const fits = (port: number): boolean => range === undefined || (port >= range.first && port <= range.last);
  if (former !== undefined && fits(former)) {
    const fd = tryOpen(open, former, address);
    if (fd !== undefined) return fd;
  }
  const candidates = range === undefined ? [0] : inRandomOrder(range);
  for (const port of candidates) {
    const fd = tryOpen(open, port, address);
    if (fd !== undefined) return fd;
  }
  throw new FlatnetError(`no port of ${address.toString()} is free for the proxy`, {
    code: 'PORT_RANGE',
    hint: `portRange ${range === undefined ? '' : `${range.first}-${range.last} `}needs two free ports`,
  });
}

/** Undefined where the port is somebody else's. */
function tryOpen(open: Open, port: number, address: Ip): number | undefined {
  try {
    return open(port);
  } catch (error) {
    if (!(error instanceof FlatnetError)) throw error;
    if (error.code === 'EADDRINUSE' || error.code === 'EACCES') return undefined;
    if (error.code !== 'EADDRNOTAVAIL') throw error;
    throw new FlatnetError(`${address.toString()} is no address of this node: userspace mode needs one`, {
      code: 'PROXY_ADDRESS',
      hint: "bindAddress, or the node's InternalIP, must be an address of one of its devices",
      cause: error,
    });
  }
}

function* inRandomOrder({ first, last }: PortRange): Iterable<number> {
  const count = last - first + 1;
  const start = Math.floor(Math.random() * count);
  for (let step = 0; step < count; step += 1) yield first + ((start + step) % count);
}
