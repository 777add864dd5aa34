import { performance } from 'node:perf_hooks';
import type { ConntrackKernel, Flow, FlowFilter } from '../kernel/conntrack/objects.ts';
import type { IpFamily } from '../net/ip.ts';
import { endpointText } from './services/endpoint-text.ts';
import type { ServicePort } from './services/service-port.ts';

// What the kernel still remembers of endpoints that are gone. TCP connections to them end by themselves; UDP has no
// end, and a client that keeps sending from one port would reach the vanished endpoint for as long as it sends. As
// in kube-proxy (pkg/proxy/conntrack), an endpoint that policies or topology keep new connections from keeps its flows.

export interface StaleFlowsOptions {
  readonly conntrack: ConntrackKernel;
  /** `address:port` of all endpoints of a service port that serve. */
  readonly servingEndpoints: (port: ServicePort) => ReadonlySet<string>;
  /** Addresses whose packets are this node's own: node ports are on those only. */
  readonly nodeAddresses: () => ReadonlySet<string>;
}

export interface CleanReport {
  readonly family: IpFamily;
  readonly deleted: number;
  readonly seconds: number;
}

/** What is known of a UDP service port, small, as there may be thousands. */
interface Known {
  readonly family: IpFamily;
  readonly entries: readonly string[];
  /** Its endpoints in order, blank between them; what it needs most often is to be compared. */
  readonly serving: string;
}

/** More entries than this at once, and the table is read as a whole instead of once for each. */
const MAX_FILTERED_LISTS = 8;
/** IANA number. */
const UDP = 17;

/** Finds and deletes the UDP flows that lead elsewhere than their Service does now. */
export class StaleFlows {
  readonly #options: StaleFlowsOptions;
  readonly #known = new Map<string, Known>();
  /** Which service port has an address and port, or node port: `10.96.0.10 53`, `4 node port 30053`. */
  readonly #owners = new Map<string, string>();
  /** Entries whose flows may be stale, with the endpoints that they had. */
  readonly #affected = new Map<string, ReadonlySet<string>>();

  constructor(options: StaleFlowsOptions) {
    this.#options = options;
  }

  /** Forgets all service ports: those that `set` names now are the whole. */
  reset(): void {
    this.#known.clear();
    this.#owners.clear();
    this.#affected.clear();
  }

  set(id: string, port: ServicePort | undefined): void {
    // The protocol stands in the id: all but the few UDP ports end here.
    if (!id.includes('/UDP/')) return;
    const before = this.#known.get(id);
    const after = port === undefined ? undefined : this.#describe(port);
    if (after === undefined) this.#known.delete(id);
    else this.#known.set(id, after);
    for (const entry of before?.entries ?? []) if (this.#owners.get(entry) === id) this.#owners.delete(entry);
    for (const entry of after?.entries ?? []) if (!this.#owners.has(entry)) this.#owners.set(entry, id);
    const was = endpointsOf(before);
    const is = endpointsOf(after);
    const moved = before?.entries.join() !== after?.entries.join();
    const lost = was.some((endpoint) => !is.includes(endpoint));
    const first = was.length === 0 && is.length > 0;
    if (!moved && !lost && !first) return;
    for (const entry of [...(before?.entries ?? []), ...(after?.entries ?? [])]) {
      this.#affected.set(entry, new Set([...(this.#affected.get(entry) ?? []), ...was]));
    }
  }

  /** Looks at flows to service ports that changed since the last call, and at nothing where none did. */
  clean(): CleanReport[] {
    const affected = new Map(this.#affected);
    this.#affected.clear();
    return ([4, 6] as const).flatMap((family) => {
      const own = [...affected.keys()].filter((entry) => familyOf(entry) === family);
      if (own.length === 0) return [];
      return [this.#clean(family, affected, own.length > MAX_FILTERED_LISTS ? undefined : own)];
    });
  }

  /** Looks at all UDP flows. */
  cleanAll(families: readonly IpFamily[]): CleanReport[] {
    this.#affected.clear();
    return this.#known.size === 0 ? [] : families.map((family) => this.#clean(family, new Map(), undefined));
  }

  #clean(
    family: IpFamily,
    affected: ReadonlyMap<string, ReadonlySet<string>>,
    entries: readonly string[] | undefined,
  ): CleanReport {
    const { conntrack } = this.#options;
    const started = performance.now();
    const filters = entries === undefined ? [{}] : entries.map(filterOf);
    const here = once(this.#options.nodeAddresses);
    let deleted = 0;
    for (const filter of filters) {
      for (const flow of conntrack.list({ family, protocol: UDP, ...filter })) {
        if (this.#isStale(flow, affected, here) && conntrack.delete(flow)) deleted += 1;
      }
    }
    return { family, deleted, seconds: (performance.now() - started) / 1000 };
  }

  #isStale(
    flow: Flow,
    affected: ReadonlyMap<string, ReadonlySet<string>>,
    here: () => ReadonlySet<string>,
  ): boolean {
    const { destination, destinationPort } = flow.original;
    const direct = addressEntry(destination, destinationPort);
    const atNode = nodeEntry(flow.family, destinationPort);
    const mayBeNodePort = this.#owners.has(atNode) || affected.has(atNode);
    const entries = mayBeNodePort && here().has(destination) ? [direct, atNode] : [direct];
    const { source: address, sourcePort: port } = flow.reply;
    const reached = endpointText(address, port);
    for (const entry of entries) {
      const known = this.#known.get(this.#owners.get(entry) ?? '');
      // With nowhere to go it was not translated: it ends by itself, and is refused.
      const translated = address !== destination || port !== destinationPort;
      if (known?.serving === '') return translated;
      if (known !== undefined) return !endpointsOf(known).includes(reached);
    }
    // The service port is gone: so is what was translated for it.
    return entries.some((entry) => affected.get(entry)?.has(reached) === true);
  }

  #describe(port: ServicePort): Known {
    const { family, nodePort } = port;
    const addresses = [port.address, ...port.externalIps, ...port.loadBalancerIps];
    const entries = addresses.map((address) => addressEntry(address, port.port));
    if (nodePort !== 0) entries.push(nodeEntry(family, nodePort));
    return { family, entries, serving: [...this.#options.servingEndpoints(port)].sort().join(' ') };
  }
}

function endpointsOf(known: Known | undefined): string[] {
  return known === undefined || known.serving === '' ? [] : known.serving.split(' ');
}

const addressEntry = (address: string, port: number): string => `${address} ${port}`;
const nodeEntry = (family: IpFamily, port: number): string => `${family} node port ${port}`;

function familyOf(entry: string): IpFamily {
  return entry.startsWith('6 node') || entry.slice(0, entry.indexOf(' ')).includes(':') ? 6 : 4;
}

function filterOf(entry: string): Partial<FlowFilter> {
  const words = entry.split(' ');
  const destinationPort = Number(words.at(-1));
  return words.length > 2 ? { destinationPort } : { destination: words[0] ?? '', destinationPort };
}

/** Asked the kernel at most once, however many flows there are. */
function once<T>(read: () => T): () => T {
  let value: { readonly read: T } | undefined;
  return () => (value ??= { read: read() }).read;
}
