import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';

/** Of the control protocol (worker/control.h); a worker of another version is replaced. */
export const PROTOCOL = 1;

/** What a worker says of itself. */
export interface WorkerState {
  readonly protocol: number;
  readonly device: string;
  readonly local: Ip;
  readonly port: number;
  readonly pid: number;
  readonly peers: number;
}

export interface WorkerPeer {
  readonly podCidr: Cidr;
  readonly via: Ip;
  readonly port: number;
}

/** The answer to `show`: NAME VALUE a line; names that are not known here are passed over. Throws UDP_WORKER_ANSWER. */
export function parseState(text: string): WorkerState {
  const fields = new Map(
    linesOf(text).map((line) => {
      const space = line.indexOf(' ');
      return [line.slice(0, space), line.slice(space + 1)] as const;
    }),
  );
  const number = (name: string): number => {
    const value = Number(fields.get(name) ?? Number.NaN);
    if (Number.isSafeInteger(value)) return value;
    throw unreadable(`${name} in ${text}`);
  };
  const local = Ip.tryParse(fields.get('local') ?? '');
  const device = fields.get('device');
  if (local === undefined || device === undefined) throw unreadable(text);
  return {
    protocol: number('protocol'),
    device,
    local,
    port: number('port'),
    pid: number('pid'),
    peers: number('peers'),
  };
}

/** The answer to `list`: CIDR ADDRESS:PORT a line. Throws UDP_WORKER_ANSWER. */
export function parsePeers(text: string): WorkerPeer[] {
  return linesOf(text).map((line) => {
    const [, cidr = '', address = '', port = ''] = /^(\S+) (\S+):(\d+)$/.exec(line) ?? [];
    const podCidr = Cidr.tryParse(cidr);
    const via = Ip.tryParse(address);
    if (podCidr === undefined || via === undefined) throw unreadable(line);
    return { podCidr, via, port: Number(port) };
  });
}

const linesOf = (text: string): string[] => text.split('\n').filter((line) => line !== '');

const unreadable = (text: string): FlatnetError =>
  new FlatnetError(`the udp worker's answer is not understood: ${JSON.stringify(text.slice(0, 200))}`, {
    code: 'UDP_WORKER_ANSWER',
  });
