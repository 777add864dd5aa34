import { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** The agent's own metrics, beside those that the service proxy registers. */
export class AgentMetrics {
  readonly registry = new Registry();
  readonly peerProblems: Gauge;
  readonly #requests: Counter;
  readonly #durations: Histogram;

  /** `read` is called at each scrape. */
  constructor(read: { peers: () => number; reserved: () => number; capacity: () => number }) {
    const registers = [this.registry];
    const gauge = (name: string, help: string, value: () => number): void => {
      const made: Gauge = new Gauge({ name, help, registers, collect: () => made.set(value()) });
    };
    gauge('flatnet_podnet_peers', 'Other nodes that the pod network reaches.', read.peers);
    gauge('flatnet_ipam_reserved_addresses', 'Addresses that are reserved for pods.', read.reserved);
    gauge(
      'flatnet_ipam_capacity',
      'Pods that the smallest pod CIDR of the node has room for.',
      read.capacity,
    );
    gauge('process_resident_memory_bytes', 'Resident memory size in bytes.', () => process.memoryUsage.rss());
    gauge('process_cpu_seconds_total', 'User and system CPU time.', cpuSeconds);
    this.peerProblems = new Gauge({
      name: 'flatnet_podnet_node_problems',
      help: 'What is wrong with a node of the cluster, as seen from this one.',
      labelNames: ['node'],
      registers,
    });
    this.#requests = new Counter({
      name: 'flatnet_cni_requests_total',
      help: 'CNI requests by command and code of the CNI specification; code 0 is success.',
      labelNames: ['command', 'code'],
      registers,
    });
    this.#durations = new Histogram({
      name: 'flatnet_cni_request_duration_seconds',
      help: 'Time that the agent has taken for a CNI request.',
      labelNames: ['command'],
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 1],
      registers,
    });
  }

  cniRequest(command: string, code: number, durationMs: number): void {
    const known = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'].includes(command) ? command : 'other';
    this.#requests.inc({ command: known, code: String(code) });
    this.#durations.observe({ command: known }, durationMs / 1000);
  }
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
