import type { EventRecorder } from '../cluster/event-recorder.ts';
import { describeError, type FlatnetError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import type { AgentMetrics } from './metrics.ts';

/** Who found them: what a node publishes, how it is reached, what this node is about itself. */
export type ProblemSource = 'store' | 'network' | 'own';

/** What is wrong with nodes: logged, counted, shown as Events of their Node objects and in the status. */
export class NodeProblems {
  readonly #logger: Logger;
  readonly #metrics: AgentMetrics;
  /** Absent where there is no Kubernetes API. */
  readonly #events: EventRecorder | undefined;
  /** As people call the node. */
  readonly #titleOf: (node: string) => string;
  readonly #found = new Map<string, Map<ProblemSource, readonly FlatnetError[]>>();

  constructor(
    logger: Logger,
    metrics: AgentMetrics,
    events: EventRecorder | undefined,
    titleOf: (node: string) => string,
  ) {
    this.#titleOf = titleOf;
    this.#logger = logger;
    this.#metrics = metrics;
    this.#events = events;
  }

  /** In place of what the same source has told of the node before; what it goes on telling is not news. */
  set(node: string, source: ProblemSource, problems: readonly FlatnetError[]): void {
    const ofNode = this.#found.get(node) ?? new Map<ProblemSource, readonly FlatnetError[]>();
    const told = new Set((ofNode.get(source) ?? []).map(describeError));
    if (problems.length === 0 && !ofNode.has(source)) return;
    if (problems.length === 0) ofNode.delete(source);
    else ofNode.set(source, problems);
    if (ofNode.size === 0) this.#found.delete(node);
    else this.#found.set(node, ofNode);
    const count = this.of(node).length;
    if (count === 0) this.#metrics.peerProblems.remove({ node });
    else this.#metrics.peerProblems.set({ node }, count);
    for (const problem of problems) if (!told.has(describeError(problem))) this.#tell(node, source, problem);
  }

  of(node: string): string[] {
    return [...(this.#found.get(node)?.values() ?? [])].flat().map(describeError);
  }

  #tell(node: string, source: ProblemSource, problem: FlatnetError): void {
    const own = source === 'own';
    const name = this.#titleOf(node);
    this.#logger.warn(
      { node: name, code: problem.code, error: describeError(problem) },
      own ? 'this node is not as it was asked for' : 'a node cannot be reached as it is',
    );
    const reference = { apiVersion: 'v1', kind: 'Node', metadata: { name } };
    const reason = own ? 'PodNetworkDegraded' : 'PodNetworkUnreachable';
    this.#events?.record(reference, 'Warning', reason, describeError(problem));
  }
}
