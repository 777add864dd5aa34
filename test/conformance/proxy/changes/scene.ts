import type { IpFamily } from '../../../../src/net/ip.ts';
import { INSIDE_UML } from '../../../uml/uml.ts';
import type { ProxyMode } from '../../../../src/proxy/backend.ts';
import { addressOf, type Address } from '../call-row.ts';
import type { CallSlots } from '../call-slots.ts';
import type { CallOptions, CallResult, HeldConnection } from '../host.ts';
import type { TestService } from '../objects.ts';
import type { Caller, Row, Target } from '../row.ts';
import type { TestCluster } from '../test-cluster.ts';
import type { ProxyNetwork } from '../topology.ts';

/** User-mode-linux has one processor, which is slower. */
const TIMEOUT_MS = INSIDE_UML ? 8000 : 3000;

/** Changes, and what callers meet after each. */
export interface Story {
  readonly name: string;
  /** Modes that cannot do it, and why. */
  readonly except?: Partial<Record<ProxyMode, string>>;
  /** Told when all others have ended: time matters, and a busy process would take it for silence. */
  readonly quiet?: boolean;
  readonly tell: (scene: Scene) => Promise<void>;
}

export type Called = Pick<Row, 'port' | 'protocol'> & Pick<CallOptions, 'localAddress' | 'localPort'>;

/** What all stories share. */
export interface Stage {
  readonly network: ProxyNetwork;
  readonly cluster: TestCluster;
  readonly slots: CallSlots;
}

/** Services of one story in one family, and those who call them. */
export class Scene {
  readonly family: IpFamily;
  readonly cluster: TestCluster;
  readonly #stage: Stage;
  readonly #number: number;

  constructor(stage: Stage, family: IpFamily, number: number) {
    this.#stage = stage;
    this.cluster = stage.cluster;
    this.family = family;
    this.#number = number;
  }

  /** A Service of this story's own; `index` from 0 to 2. */
  service(part: Partial<TestService>, index = 0): TestService {
    const number = this.#number + index;
    return { name: `story-${number}`, families: [this.family], ...part, number: part.number ?? number };
  }

  address(service: TestService, to: Target, { port, protocol }: Called = {}): Address {
    const more = { ...(port === undefined ? {} : { port }), ...(protocol === undefined ? {} : { protocol }) };
    return addressOf({ from: 'pod', to, outcome: { kind: 'rejected' }, ...more }, service, this.family);
  }

  async call(from: Caller, service: TestService, to: Target, options: Called = {}): Promise<CallResult> {
    const { host, port, protocol } = this.address(service, to, options);
    const { localAddress, localPort } = options;
    const { network, slots } = this.#stage;
    return await slots.use(async () =>
      network.caller(from).call(host, port, {
        protocol,
        timeoutMs: TIMEOUT_MS,
        ...(localAddress === undefined ? {} : { localAddress }),
        ...(localPort === undefined ? {} : { localPort }),
      }),
    );
  }

  /** Name of who answers, or `rejected`, `dropped` … */
  async answer(from: Caller, service: TestService, to: Target, options: Called = {}): Promise<string> {
    const { reply, error } = await this.call(from, service, to, options);
    if (reply !== undefined) return reply.host;
    if (error === 'ECONNREFUSED' || error === 'EPERM') return 'rejected';
    return error === 'ETIMEDOUT' ? 'dropped' : (error ?? 'nothing');
  }

  /** Names of all who answer to so many calls, each once; sorted. */
  async answers(
    from: Caller,
    service: TestService,
    to: Target,
    count: number,
    options: Called = {},
  ): Promise<string[]> {
    const all = await Promise.all(
      Array.from({ length: count }, async () => this.answer(from, service, to, options)),
    );
    return [...new Set(all)].sort();
  }

  /** All who answer; 40 calls miss one of three fair endpoints one time in 10^7. */
  async everybody(from: Caller, service: TestService, to: Target): Promise<string[]> {
    return await this.answers(from, service, to, 40);
  }

  hold(from: Caller, service: TestService, to: Target, port?: number): HeldConnection {
    const { host, port: number } = this.address(service, to, port === undefined ? {} : { port });
    return this.#stage.network.caller(from).hold(host, number);
  }
}
