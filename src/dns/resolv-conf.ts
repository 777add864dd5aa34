import { Ip } from '../net/ip.ts';

/** The resolver of the C library looks at no more (resolv.h, MAXNS). */
const MAX_NAME_SERVERS = 3;

export interface UpstreamServer {
  readonly ip: Ip;
  readonly port: number;
}

/** The name servers of a resolv.conf(5); lines that name none are passed over, as the C library does. */
export function parseResolvConf(text: string): UpstreamServer[] {
  const servers = text.split('\n').flatMap((line) => {
    const match = /^nameserver[ \t]+(\S+)/.exec(line);
    const ip = Ip.tryParse((match?.[1] ?? '').replace(/%.*$/, ''));
    return ip === undefined ? [] : [{ ip, port: 53 }];
  });
  return servers.slice(0, MAX_NAME_SERVERS);
}
