import { FlatnetError } from '../errors/flatnet-error.ts';

/** One member of an etcd cluster. */
export interface Endpoint {
  /** As it was written, for messages. */
  readonly text: string;
  /** `host:port`, for IPv6 with brackets. */
  readonly address: string;
  /** Undefined where nothing was written before the host: then TLS is used where there are certificates. */
  readonly scheme: 'http' | 'https' | undefined;
}

/** etcd's port for clients. */
const DEFAULT_PORT = 2379;

/** `http://10.0.0.1:2379`, `https://etcd-1.example:2379`, `10.0.0.1:2379`. Throws INVALID_ENDPOINT. */
export function parseEndpoint(text: string): Endpoint {
  const match = /^(?:(https?):\/\/)?((?:\[[\da-fA-F:.]+\])|[^/:@?#\s[\]]+)(?::(\d{1,5}))?\/?$/.exec(text);
  const port = Number(match?.[3] ?? DEFAULT_PORT);
  if (match?.[2] === undefined || port < 1 || port > 65_535) {
    throw new FlatnetError(`"${text}" is not an etcd endpoint`, {
      code: 'INVALID_ENDPOINT',
      hint: 'write it like http://10.0.0.1:2379 or https://etcd-1.example:2379',
    });
  }
  return { text, address: `${match[2]}:${port}`, scheme: match[1] as Endpoint['scheme'] };
}
