import { FlatnetError } from '../errors/flatnet-error.ts';
import { Ip } from '../net/ip.ts';

export interface ListenAddress {
  /** undefined: every address of the machine. */
  readonly ip: Ip | undefined;
  readonly port: number;
}

/** Parses `:53`, `10.0.0.1:53` and `[fd00::1]:53`; the unspecified addresses mean every address. */
export function parseListenAddress(text: string): ListenAddress {
  const match = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? '';
  const port = Number(match?.[3] ?? -1);
  const ip = host === '' ? undefined : Ip.tryParse(host);
  if (match === null || port > 65_535 || (host !== '' && ip === undefined)) {
    throw new FlatnetError(`"${text}" is not an address to listen on`, {
      code: 'INVALID_ADDRESS',
      hint: 'write it like :53, 10.96.0.10:53 or [fd00::a]:53',
    });
  }
  return { ip: ip?.value === 0n ? undefined : ip, port };
}

/** For logs and metric labels: `:53`, `10.0.0.1:53`, `[fd00::1]:53`. */
export function formatListenAddress(address: ListenAddress): string {
  if (address.ip === undefined) return `:${address.port}`;
  const text = address.ip.toString();
  return address.ip.family === 6 ? `[${text}]:${address.port}` : `${text}:${address.port}`;
}

/** Says which address could not be had, and why. */
export function listenFailure(what: string, address: ListenAddress, error: unknown): FlatnetError {
  const code = (error as NodeJS.ErrnoException).code ?? 'LISTEN_FAILED';
  return new FlatnetError(`${what} cannot listen on ${formatListenAddress(address)}: ${code}`, {
    code,
    cause: error,
    ...(code === 'EADDRINUSE' && {
      hint: `another process has the port: ss -lnptu 'sport = :${address.port}'`,
    }),
    ...(code === 'EACCES' && { hint: 'ports below 1024 need CAP_NET_BIND_SERVICE' }),
    ...(code === 'EADDRNOTAVAIL' && { hint: 'no interface has this address' }),
  });
}
