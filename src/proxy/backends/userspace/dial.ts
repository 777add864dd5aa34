import type { ServiceEndpoint } from '../../services/service-port.ts';
import { endpointText } from '../../services/endpoint-text.ts';
import type { Balancer, EndpointSet } from './balancer.ts';

/** How one attempt to reach an endpoint ended. */
export type Attempt<Connection> =
  | { readonly kind: 'connected'; readonly connection: Connection }
  /** No answer in time. */
  | { readonly kind: 'silent' }
  /** The endpoint, or somebody on the way to it, said no. */
  | { readonly kind: 'refused'; readonly error: Error }
  /** This node cannot make connections at all now: other endpoints would not help. */
  | { readonly kind: 'exhausted'; readonly error: Error };

/** Tries to connect to an endpoint for at most so long. */
export type Connect<Connection> = (
  endpoint: ServiceEndpoint,
  timeoutMs: number,
) => Promise<Attempt<Connection>>;

export interface DialedConnection<Connection> {
  readonly connection: Connection | undefined;
  /** Endpoints that did not take the connection, in the order in which they were tried. */
  readonly failed: readonly string[];
  readonly error?: Error;
}

/**
 * Connects to an endpoint of the service port, and to another one where that is dead. Each attempt that gets no answer
 * lasts as long as its turn in `timeoutsMs` says, and there are no more of them than that. An endpoint that refuses
 * costs no time: the next one is tried at once, until all have been asked.
 */
export async function dial<Connection>(
  { balancer, client, set }: { balancer: Balancer; client: string; set: EndpointSet },
  timeoutsMs: readonly number[],
  connect: Connect<Connection>,
): Promise<DialedConnection<Connection>> {
  const failed: string[] = [];
  const asked = new Set<string>();
  let silent = 0;
  let answered = 0;
  let error: Error | undefined;
  for (;;) {
    const timeoutMs = timeoutsMs[silent];
    const endpoint = timeoutMs === undefined ? undefined : balancer.next(client, set, asked);
    if (endpoint === undefined || timeoutMs === undefined) {
      // Everybody was asked once. Those that were silent may only have been slow.
      if (timeoutMs !== undefined && asked.size > answered) {
        asked.clear();
        answered = 0;
        if (balancer.endpoints(set).length > 0) continue;
      }
      return { connection: undefined, failed, ...(error === undefined ? {} : { error }) };
    }
    const name = endpointText(endpoint.address, endpoint.port);
    const attempt = await connect(endpoint, timeoutMs);
    if (attempt.kind === 'connected') return { connection: attempt.connection, failed };
    failed.push(name);
    asked.add(name);
    if (attempt.kind === 'silent') {
      silent += 1;
      continue;
    }
    error = attempt.error;
    if (attempt.kind === 'exhausted') return { connection: undefined, failed, error };
    answered += 1;
  }
}
