import { Ip } from '../../net/ip.ts';

/** Where a server listens. */
export interface BindAddress {
  readonly host: Ip;
  readonly port: number;
}

/**
 * Reads `0.0.0.0:10256`, `[::]:10256` and, where a port is given to take, an address alone (`127.0.0.1`, `::1`).
 * Undefined where it is neither.
 */
export function parseBindAddress(text: string, defaultPort?: number): BindAddress | undefined {
  const alone = Ip.tryParse(text);
  if (alone !== undefined) return defaultPort === undefined ? undefined : { host: alone, port: defaultPort };
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text);
  const host = Ip.tryParse(match?.[1] ?? match?.[2] ?? '');
  const port = Number(match?.[3]);
  return host !== undefined && port >= 1 && port <= 65_535 ? { host, port } : undefined;
}

/** `0.0.0.0:10256`, `[::]:10256`. */
export function formatBindAddress({ host, port }: BindAddress): string {
  return host.family === 6 ? `[${host.toString()}]:${port}` : `${host.toString()}:${port}`;
}
