import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { run } from '../../../kernel/exec/run.ts';
import { bindUdp, listenTcp, tcpSocket } from '../../../kernel/netns/listen.ts';
import { createNetns, deleteNetns, Netns } from '../../../kernel/netns/netns.ts';
import { Ip } from '../../../net/ip.ts';
import type { ServiceEndpoint } from '../../services/service-port.ts';

export type Place = 'node' | 'pod' | 'outside';

export const NODE = { 4: '10.250.0.1', 6: 'fd00:250::1' } as const;
/** The node's address on the pods' wire. */
export const GATEWAY = { 4: '10.244.1.1', 6: 'fd00:10:244:1::1' } as const;
export const OUTSIDE = { 4: '10.250.0.3', 6: 'fd00:250::3' } as const;
const PODS = { 4: '10.244.1.', 6: 'fd00:10:244:1::' } as const;
const ANY = { 4: Ip.parse('0.0.0.0'), 6: Ip.parse('::') } as const;

/** Ends in 10 to 13. */
export function endpoint(family: 4 | 6, last: number, port = 8080): ServiceEndpoint {
  return { address: `${PODS[family]}${last}`, port, local: true };
}

/** For tests on the real kernel: a node, pods (several addresses in one namespace) and a machine outside. */
export class KernelNetwork {
  readonly #names: Record<Place, string>;
  readonly #spaces: Record<Place, Netns>;
  readonly #ends: (() => void)[] = [];

  private constructor(names: Record<Place, string>) {
    this.#names = names;
    for (const name of Object.values(names)) {
      deleteNetns(name);
      createNetns(name);
    }
    this.#spaces = {
      node: Netns.named(names.node),
      pod: Netns.named(names.pod),
      outside: Netns.named(names.outside),
    };
  }

  static async make(prefix: string): Promise<KernelNetwork> {
    const names = { node: `${prefix}-node`, pod: `${prefix}-pod`, outside: `${prefix}-outside` };
    const network = new KernelNetwork(names);
    for (const place of ['node', 'pod', 'outside'] as const) await network.ip(place, 'link set lo up');
    // Else the first address of a subnet takes the others with it when it is deleted.
    const promote = 'net.ipv4.conf.all.promote_secondaries=1';
    await run('sysctl', ['-qw', promote], { netns: network.netns('pod') });
    await network.#wire(
      'pod',
      'pod0',
      GATEWAY,
      [10, 11, 12, 13].map((last) => [PODS[4] + last, PODS[6] + last]),
    );
    await network.#wire('outside', 'eth0', NODE, [[OUTSIDE[4], OUTSIDE[6]]]);
    // As every node has one: without it packets to a service address are unroutable before any rule sees them.
    await network.ip('node', `route add default via ${OUTSIDE[4]}`);
    await network.ip('node', `-6 route add default via ${OUTSIDE[6]}`);
    const forward = ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1'];
    await run('sysctl', ['-qw', ...forward], { netns: network.netns('node') });
    return network;
  }

  netns(place: Place): number {
    return this.#spaces[place].fd;
  }

  async ip(place: Place, command: string): Promise<void> {
    await run('ip', command.split(' '), { netns: this.netns(place) });
  }

  /** A TCP server among the pods. */
  serve(host: string, port: number, handle: (socket: net.Socket) => void, place: Place = 'pod'): () => void {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {});
      this.#ends.push(() => socket.destroy());
      handle(socket);
    });
    server.listen({ fd: listenTcp(Ip.parse(host), port, { netns: this.netns(place), backlog: 1024 }) });
    const end = (): void => void server.close();
    this.#ends.push(end);
    return end;
  }

  /** A TCP server that says its own address and its client's. */
  serveName({ address, port }: ServiceEndpoint): void {
    this.serve(address, port, (socket) => {
      socket.resume();
      socket.end(`${address} sees ${socket.remoteAddress}`);
    });
  }

  /** A UDP server among the pods: `answer` makes of a datagram what is sent back, if anything. */
  serveUdp(
    { address, port }: ServiceEndpoint,
    answer: (text: string, from: string) => string | undefined,
  ): () => void {
    const socket = dgram.createSocket(net.isIPv6(address) ? 'udp6' : 'udp4');
    socket.on('message', (data, from) => {
      const text = answer(data.toString(), `${from.address} ${from.port}`);
      if (text !== undefined) socket.send(text, from.port, from.address);
    });
    socket.bind({ fd: bindUdp(Ip.parse(address), port, { netns: this.netns('pod') }) });
    let open = true;
    const end = (): void => {
      if (open) socket.close();
      open = false;
    };
    this.#ends.push(end);
    return end;
  }

  /** Throws what the kernel says, or TimeoutError. */
  async connect(from: Place, host: string, port: number, timeoutMs = 2000): Promise<net.Socket> {
    const family = net.isIPv6(host) ? 6 : 4;
    const socket = new net.Socket({ fd: tcpSocket(family, this.netns(from)), allowHalfOpen: true });
    this.#ends.push(() => socket.destroy());
    socket.connect(port, host);
    await once(socket, 'connect', { signal: AbortSignal.timeout(timeoutMs) });
    return socket;
  }

  /** What a server says that begins to speak at once. */
  async ask(from: Place, host: string, port: number, timeoutMs = 2000): Promise<string> {
    const socket = await this.connect(from, host, port, timeoutMs);
    const text = await textOf(socket);
    socket.end();
    return text;
  }

  udpClient(from: Place, family: 4 | 6): UdpClient {
    const client = new UdpClient(bindUdp(ANY[family], 0, { netns: this.netns(from) }), family);
    this.#ends.push(() => client.close());
    return client;
  }

  end(): void {
    for (const end of this.#ends) end();
    for (const place of ['node', 'pod', 'outside'] as const) {
      this.#spaces[place].close();
      deleteNetns(this.#names[place]);
    }
  }

  async #wire(
    to: 'pod' | 'outside',
    device: string,
    near: Readonly<Record<4 | 6, string>>,
    far: readonly string[][],
  ): Promise<void> {
    await this.ip('node', `link add ${device} type veth peer name eth0 netns ${this.#names[to]}`);
    for (const [place, name, pairs] of [
      ['node', device, [[near[4], near[6]]]],
      [to, 'eth0', far],
    ] as const) {
      for (const [v4, v6] of pairs) {
        await this.ip(place, `addr add ${v4}/24 dev ${name}`);
        await this.ip(place, `addr add ${v6}/64 dev ${name} nodad`);
      }
      await this.ip(place, `link set ${name} up`);
    }
    await this.ip(to, `route add default via ${near[4]}`);
    await this.ip(to, `-6 route add default via ${near[6]}`);
  }
}

/** One socket: one flow for each destination. */
export class UdpClient {
  readonly #socket: dgram.Socket;
  readonly #answers: string[] = [];
  #arrived: () => void = () => {};

  constructor(fd: number, family: 4 | 6) {
    this.#socket = dgram.createSocket(family === 4 ? 'udp4' : 'udp6');
    this.#socket.on('message', (data, from) => {
      this.#answers.push(`${data.toString()} from ${from.address}`);
      this.#arrived();
    });
    this.#socket.bind({ fd });
  }

  send(text: string, host: string, port: number): void {
    this.#socket.send(text, port, host);
  }

  /** The next answer and whom it is from; undefined when none comes in time. */
  async answer(timeoutMs = 2000): Promise<string | undefined> {
    if (this.#answers.length === 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        this.#arrived = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.#answers.shift();
  }

  async ask(text: string, host: string, port: number, timeoutMs?: number): Promise<string | undefined> {
    this.send(text, host, port);
    return await this.answer(timeoutMs);
  }

  close(): void {
    this.#socket.close();
  }
}

/** Everything that comes until the other side ends. */
export async function textOf(socket: net.Socket): Promise<string> {
  let text = '';
  socket.on('data', (data: Buffer) => (text += data.toString()));
  await once(socket, 'end');
  return text;
}
