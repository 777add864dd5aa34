import { createHash, randomBytes } from 'node:crypto';
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { createServer, Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { bindUdp, listenTcp, tcpSocket } from '../../../kernel/netns/listen.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import { buildWorker, UdpNode } from './worker-fixture.ts';
import { unanswered } from '../ping-answers.ts';

let folder: string;
let here: UdpNode;
let there: UdpNode;

beforeAll(async () => {
  folder = await buildWorker();
  [here, there] = await UdpNode.pair(folder);
  here.startAgent();
  there.startAgent();
  await reached();
});

afterAll(async () => {
  await here.close();
  await there.close();
  UdpNode.removeFolder(folder);
});

/** Both ways: the agents program peers in their own time. */
async function reached(): Promise<void> {
  await vi.waitFor(async () => expect(await here.ping('-c 1 -W 1 10.244.2.2')).toContain('1 received'), {
    timeout: 5_000,
    interval: 20,
  });
}

/** Stands for a node with flannel. */
async function flannel(action: (socket: DatagramSocket) => Promise<void>): Promise<void> {
  await there.ip('address add 172.30.0.3/24 dev eth0');
  const socket = createSocket('udp4');
  socket.bind({ fd: bindUdp(Ip.parse('172.30.0.3'), 8285, { netns: there.netns.fd }) });
  const peer = { podCidr: Cidr.parse('10.244.3.0/24'), via: Ip.parse('172.30.0.3'), port: 8285 };
  here.client.set(peer);
  try {
    await action(socket);
  } finally {
    here.client.delete(peer.podCidr);
    socket.close();
    await there.ip('address delete 172.30.0.3/24 dev eth0');
  }
}

const pid = (node: UdpNode): number => node.client.show()?.pid ?? 0;

describe('packets', () => {
  test('a pod is reached; node, both workers and the other node count as routers, as with flannel', async () => {
    expect(await here.ping('-c 1 10.244.2.2')).toMatch(/ttl=61 .*\n[^]*1 received/);
  });

  test.each([
    [1472, '1 received'],
    [1473, 'mtu=1472'],
  ])('a packet of %d bytes that must not be fragmented: %s', async (size, expected) => {
    expect(await here.ping(`-c 1 -W 1 -M do -s ${size - 28} 10.244.2.2`)).toContain(expected);
  });

  test('one of 20,000 bytes goes in fragments', async () => {
    expect(await here.ping('-c 1 -W 1 -s 20000 10.244.2.2')).toContain('1 received');
  });

  test.each([1, 7, 1_000, 1_419, 1_420, 1_421, 100_000, 8_000_000])(
    '%d bytes by TCP arrive as they were',
    async (size) => {
      const data = randomBytes(size);
      const fd = listenTcp(Ip.parse(there.podIp), 0, { netns: there.pod.fd });
      const server = createServer((socket) => socket.pipe(socket)).listen({ fd });
      await once(server, 'listening');
      const { port } = server.address() as { port: number };
      const socket = new Socket({ fd: tcpSocket(4, here.pod.fd) }).connect({ host: there.podIp, port });
      const hash = createHash('sha256');
      socket.on('data', (chunk: Buffer) => hash.update(chunk));
      socket.end(data);
      await once(socket, 'close');
      server.close();
      expect(hash.digest('hex')).toBe(createHash('sha256').update(data).digest('hex'));
    },
  );
});

describe('what cannot be delivered is answered as by a router', () => {
  test('a pod that no node has', async () => {
    expect(await here.ping('-c 1 -W 1 10.244.9.2')).toContain(
      'From 10.244.1.1 icmp_seq=1 Destination Net Unreachable',
    );
  });

  test('hops that are used up', async () => {
    expect(await here.ping('-c 1 -W 1 -t 2 10.244.2.2')).toContain(
      'From 10.244.1.1 icmp_seq=1 Time to live exceeded',
    );
  });

  test('a way that has become narrower: fragments where they are allowed, else the sender is told', async () => {
    for (const node of [here, there]) await node.ip('link set eth0 mtu 1400');
    try {
      const told = await here.ping('-c 1 -W 1 -M do -s 1444 10.244.2.2');
      expect(told).toContain('From 10.244.1.1 icmp_seq=1 Frag needed and DF set (mtu = 1372)');
      expect(await here.ping('-c 1 -W 1 -M do -s 1344 10.244.2.2')).toContain('1 received');
      expect(await here.ping('-c 1 -W 1 -M dont -s 1444 10.244.2.2')).toContain('1 received');
    } finally {
      for (const node of [here, there]) await node.ip('link set eth0 mtu 1500');
    }
  });
});

describe("flannel's framing", () => {
  test('a packet is a datagram', async () => {
    await flannel(async (socket) => {
      const pinging = here.ping('-c 1 -W 1 -s 100 10.244.3.2');
      const [packet] = (await once(socket, 'message')) as [Buffer];
      expect(packet.length).toBe(128);
      expect(packet.subarray(0, 1).toString('hex')).toBe('45');
      expect(packet.subarray(12, 20).toString('hex')).toBe('0af401020af40302');
      expect(packet[8]).toBe(62);
      expect(checksum(packet.subarray(0, 20))).toBe(0xffff);
      // The same packet back, as an answer.
      const answer = Buffer.from(packet);
      packet.copy(answer, 12, 16, 20);
      packet.copy(answer, 16, 12, 16);
      answer[20] = 0;
      answer.writeUInt16BE(answer.readUInt16BE(22) + 0x800, 22);
      socket.send(answer, 8285, '172.30.0.1');
      expect(await pinging).toContain('1 received');
    });
  });

  test('a datagram that was damaged on its way is not hidden among others of its flow', async () => {
    const receiver = createSocket('udp4');
    receiver.bind({ fd: bindUdp(Ip.parse(here.podIp), 7000, { netns: here.pod.fd }) });
    const got: number[] = [];
    receiver.on('message', (message) => got.push(message.readUInt8(0)));
    await flannel(async (socket) => {
      // All of them wait when the worker reads.
      const worker = pid(here);
      process.kill(worker, 'SIGSTOP');
      for (let n = 0; n < 10; n += 1) {
        const packet = udpPacket(n, 200);
        if (n === 4) packet.writeUInt8(0xff, 100);
        await new Promise((resolve) => socket.send(packet, 8285, '172.30.0.1', resolve));
      }
      process.kill(worker, 'SIGCONT');
      await vi.waitFor(() => expect(got).toHaveLength(9));
      expect(got).toEqual([0, 1, 2, 3, 5, 6, 7, 8, 9]);
    });
    receiver.close();
  });

  test('what is no IPv4 packet is dropped, and the next one is not', async () => {
    const before = pid(here);
    await flannel(async (socket) => {
      for (const junk of [
        '',
        '45',
        `60${'00'.repeat(60)}`,
        `45000014${'00'.repeat(16)}`,
        `4f000014${'00'.repeat(30)}`,
      ]) {
        await new Promise((resolve) => socket.send(Buffer.from(junk, 'hex'), 8285, '172.30.0.1', resolve));
      }
    });
    expect(await here.ping('-c 1 -W 1 10.244.2.2')).toContain('1 received');
    expect(pid(here)).toBe(before);
  });
});

describe('the worker', () => {
  test('killed, it is there again within 5 seconds, with its peers', async () => {
    const before = pid(here);
    process.kill(before, 'SIGKILL');
    await vi.waitFor(async () => expect(await here.ping('-c 1 -W 1 10.244.2.2')).toContain('1 received'), {
      timeout: 5_000,
      interval: 20,
    });
    expect(pid(here)).not.toBe(before);
  });

  test('a deleted device is there again within 5 seconds, with its route', async () => {
    await here.ip('link delete flannel0');
    await reached();
    expect(await here.ip('route show dev flannel0')).toMatch(/10\.244\.0\.0\/16 .*\n10\.244\.2\.0\/24/);
  });

  test.each(['link set flannel0 mtu 1300', 'link set flannel0 down', 'route delete 10.244.2.0/24'])(
    'what somebody changes is put right: ip %s',
    async (words) => {
      const before = pid(here);
      await here.ip(words);
      await vi.waitFor(
        async () => {
          expect(await here.ip('link show flannel0')).toMatch(/<.*UP.*> mtu 1472/);
          expect(await here.ip('route show 10.244.2.0/24')).toContain('flannel0');
        },
        { timeout: 5_000, interval: 20 },
      );
      await reached();
      expect(pid(here)).toBe(before);
    },
  );

  test('an agent that starts again adopts it: not one packet is lost', async () => {
    const before = pid(here);
    const pinging = here.ping('-c 200 -i 0.005 10.244.2.2');
    await here.stopAgent();
    const network = here.startAgent();
    expect(network.failure).toBeUndefined();
    expect(unanswered(await pinging)).toEqual([]);
    expect(await here.ping('-c 1 -W 5 10.244.2.2')).toContain('1 received');
    expect(pid(here)).toBe(before);
  });

  test('a new port takes a new worker, the device stays', async () => {
    const index = here.kernel.link('flannel0')?.index;
    await here.stopAgent();
    here.startAgent(9000);
    await vi.waitFor(() => expect(here.client.show()).toMatchObject({ port: 9000, peers: 1 }));
    expect(here.kernel.link('flannel0')?.index).toBe(index);
    await here.stopAgent();
    here.startAgent();
    await reached();
  });

  test('what nobody wants any more goes: peers, device, worker', async () => {
    const peer = { podCidr: Cidr.parse('10.244.7.0/24'), via: Ip.parse('172.30.0.7'), port: 8285 };
    here.client.set(peer);
    await here.stopAgent();
    here.startAgent();
    await vi.waitFor(() =>
      expect(here.client.list().map(({ podCidr }) => podCidr.toString())).toEqual(['10.244.2.0/24']),
    );
  });
});

describe('the control socket', () => {
  test('is for root alone', () => {
    expect(statSync(here.socketPath).mode & 0o777).toBe(0o600);
  });

  test.each([
    ['10.244.2.0/24', '172.30.0.1', 8285, "this node's own"],
    ['10.244.2.0/24', '127.0.0.1', 8285, 'not one of a node'],
    ['10.244.2.0/24', '224.0.0.1', 8285, 'not one of a node'],
    ['10.244.2.0/24', '172.30.0.9', 0, 'not ADDRESS:PORT'],
    ['10.244.2.0/24', '172.30.0.9', 65_536, 'not ADDRESS:PORT'],
    ['fd00::/64', '172.30.0.9', 8285, 'not CIDR'],
  ])('%s via %s:%d is refused: %s', (cidr, via, port, reason) => {
    const peer = { podCidr: Cidr.parse(cidr), via: Ip.parse(via), port };
    const before = here.client.list();
    expect(() => here.client.set(peer)).toThrow(
      expect.objectContaining({
        code: 'UDP_WORKER_REFUSED',
        message: expect.stringContaining(reason) as string,
      }),
    );
    expect(here.client.list()).toEqual(before);
  });

  test('many peers come back in order of length and address', () => {
    const peers = Array.from({ length: 3_000 }, (_, n) => ({
      podCidr: Cidr.parse(`11.${n >> 8}.${n & 255}.0/24`),
      via: Ip.parse(`172.30.${n >> 8}.${(n & 127) + 100}`),
      port: 8285,
    }));
    for (const peer of peers.toReversed()) here.client.set(peer);
    expect(here.client.list().filter(({ podCidr }) => podCidr.toString().startsWith('11.'))).toEqual(peers);
    for (const { podCidr } of peers) here.client.delete(podCidr);
    expect(here.client.list()).toHaveLength(1);
  });
});

/** RFC 1071; 0xffff where the checksum within is right. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

/** From a pod of the third node to port 7000 of the pod here. */
function udpPacket(id: number, payload: number): Buffer {
  const packet = Buffer.alloc(28 + payload, id);
  packet.write('4500', 0, 'hex');
  packet.writeUInt16BE(packet.length, 2);
  packet.writeUInt16BE(id, 4);
  packet.write('000040110000', 6, 'hex');
  packet.write('0af403020af40102', 12, 'hex');
  packet.writeUInt16BE(0xffff - checksum(packet.subarray(0, 20)), 10);
  packet.writeUInt16BE(6000, 20);
  packet.writeUInt16BE(7000, 22);
  packet.writeUInt16BE(8 + payload, 24);
  packet.writeUInt16BE(0, 26);
  const pseudo = Buffer.alloc(12);
  packet.copy(pseudo, 0, 12, 20);
  pseudo.writeUInt16BE(17, 8);
  pseudo.writeUInt16BE(8 + payload, 10);
  packet.writeUInt16BE(0xffff - checksum(Buffer.concat([pseudo, packet.subarray(20)])), 26);
  return packet;
}
