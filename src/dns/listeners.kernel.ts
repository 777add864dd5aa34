import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { decode, encode } from 'dns-packet';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '../kernel/exec/run.ts';
import { createLogger } from '../log/logger.ts';
import { Ip } from '../net/ip.ts';
import { DnsMetrics } from './dns-metrics.ts';
import { parseListenAddress } from './listen-address.ts';
import { Resolver } from './resolver.ts';
import { frame } from './stream-frames.ts';
import { TcpListener } from './tcp-listener.ts';
import { UdpListener } from './udp-listener.ts';
import { Upstreams } from './upstreams.ts';
import { service, slice, viewOf } from './zone-fixture.ts';

// Real sockets on loopback, asked by dig.
const endpoints = Array.from({ length: 200 }, (_, i) => ({
  addresses: [Ip.parse('10.244.1.0').plus(i).toString()],
}));
const view = viewOf({
  namespaces: ['default'],
  services: [
    service('default', 'web', {
      clusterIPs: ['10.96.0.7'],
      ports: [{ name: 'http', protocol: 'TCP', port: 80 }],
    }),
    service('default', 'many', { clusterIPs: ['None'] }),
    service('default', 'elsewhere', { type: 'ExternalName', externalName: 'www.example.com' }),
  ],
  slices: [slice('default', 'many', endpoints)],
});
const logger = createLogger('dns-test', 'silent');
const metrics = new DnsMetrics('dns://:53', 'test');
const asked: string[] = [];
let upstream: Socket;
let tcp: TcpListener;
let udp: UdpListener;
let port = 0;

beforeAll(async () => {
  upstream = createSocket('udp4');
  upstream.on('message', (message, from) => {
    const query = decode(message);
    const name = query.questions?.[0]?.name ?? '';
    asked.push(name);
    if (name === 'silent.example.com') return;
    const answer = { type: 'A' as const, name, ttl: 60, data: '192.0.2.53' };
    upstream.send(encode({ ...query, type: 'response', answers: [answer] }), from.port, from.address);
  });
  upstream.bind(0, '127.0.0.1');
  await once(upstream, 'listening');
  const server = { ip: Ip.parse('127.0.0.1'), port: upstream.address().port };
  const upstreams = new Upstreams([server], { timeoutMs: 300 });
  const resolver = new Resolver({ view, isReady: () => true, upstreams, metrics, logger });
  tcp = new TcpListener(resolver, logger);
  udp = new UdpListener(resolver, logger);
  port = await tcp.listen(parseListenAddress('127.0.0.1:0'));
  await udp.listen(parseListenAddress(`127.0.0.1:${port}`));
});

afterAll(async () => {
  await Promise.all([tcp.close(), udp.close()]);
  upstream.close();
});

async function dig(...args: string[]): Promise<string> {
  const fixed = ['@127.0.0.1', '-p', String(port), '+tries=1', '+timeout=2'];
  return (await run('dig', [...fixed, ...args])).stdout;
}

test('a Service by UDP and by TCP', async () => {
  expect(await dig('+short', 'web.default.svc.cluster.local')).toBe('10.96.0.7\n');
  expect(await dig('+short', '+tcp', 'web.default.svc.cluster.local')).toBe('10.96.0.7\n');
  expect(await dig('+short', '-x', '10.96.0.7')).toBe('web.default.svc.cluster.local.\n');
  expect(await dig('+short', '_http._tcp.web.default.svc.cluster.local', 'SRV')).toBe(
    '0 100 80 web.default.svc.cluster.local.\n',
  );
});

test('a negative answer has the zone in its authority section', async () => {
  const text = await dig('nothing.default.svc.cluster.local');
  expect(text).toMatch(/status: NXDOMAIN/);
  expect(text).toMatch(/flags: qr aa rd/);
  expect(text).toMatch(/cluster\.local\.\s+30\s+IN\s+SOA/);
});

test('what does not fit comes over TCP, all of it', async () => {
  const cut = await dig('+ignore', 'many.default.svc.cluster.local');
  expect(cut).toMatch(/flags: qr aa tc/);
  const whole = await dig('+short', 'many.default.svc.cluster.local');
  const expected = endpoints.map(({ addresses }) => addresses.join());
  expect(new Set(whole.trim().split('\n'))).toEqual(new Set(expected));
});

test('addresses come in changing order', async () => {
  const orders = new Set<string>();
  for (let i = 0; i < 4; i += 1) orders.add(await dig('+short', '+tcp', 'many.default.svc.cluster.local'));
  expect(orders.size).toBeGreaterThan(1);
});

test('the question comes back in the case in which it was asked', async () => {
  expect(await dig('WeB.DeFault.svc.Cluster.LOCAL')).toMatch(
    /^WeB\.DeFault\.svc\.Cluster\.LOCAL\.\s+30\s+IN\s+A\s/m,
  );
});

test('other names are asked upstream, an ExternalName too', async () => {
  expect(await dig('+short', 'www.example.com')).toBe('192.0.2.53\n');
  expect(await dig('+short', 'elsewhere.default.svc.cluster.local')).toBe('www.example.com.\n192.0.2.53\n');
  expect(asked).not.toContain('elsewhere.default.svc.cluster.local');
});

test('an upstream server that says nothing is told as SERVFAIL', async () => {
  const text = await dig('silent.example.com');
  expect(text).toMatch(/status: SERVFAIL/);
  expect(text).toMatch(/EDE: 22/);
});

test('EDNS of an unknown version, other classes and opcodes are refused properly', async () => {
  expect(await dig('+edns=1', '+noednsneg', 'web.default.svc.cluster.local')).toMatch(/status: BADVERS/);
  expect(await dig('-c', 'CH', 'version.bind', 'TXT')).toMatch(/status: REFUSED/);
  expect(await dig('+opcode=status', 'web.default.svc.cluster.local')).toMatch(/status: NOTIMP/);
});

test('many questions over one connection, cut anywhere', async () => {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  const question = encode({
    id: 1,
    type: 'query',
    questions: [{ type: 'A', name: 'web.default.svc.cluster.local' }],
  });
  const stream = Buffer.concat([frame(question), frame(question), frame(question)]);
  socket.setNoDelay(true);
  socket.write(stream.subarray(0, 5));
  socket.write(stream.subarray(5));
  let received = Buffer.alloc(0);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    received = Buffer.concat([received, chunk]);
    const length = 2 + received.readUInt16BE(0);
    if (received.length >= 3 * length) break;
  }
  expect(decode(received.subarray(2)).answers).toHaveLength(1);
});

test('garbage is survived: UDP, and TCP, where the connection is closed', async () => {
  const socket = createSocket('udp4');
  for (let i = 0; i < 300; i += 1) {
    const bytes = Buffer.from(Array.from({ length: i % 90 }, () => Math.floor(Math.random() * 256)));
    socket.send(bytes, port, '127.0.0.1');
  }
  const tcpSocket = connect(port, '127.0.0.1');
  tcpSocket.write(Buffer.from('0003616263', 'hex'));
  tcpSocket.resume();
  await once(tcpSocket, 'close');
  expect(await dig('+short', 'web.default.svc.cluster.local')).toBe('10.96.0.7\n');
  socket.close();
});

test('a port that is taken is named', async () => {
  const second = new TcpListener(
    new Resolver({ view, isReady: () => true, upstreams: new Upstreams([]), metrics, logger }),
    logger,
  );
  await expect(second.listen(parseListenAddress(`127.0.0.1:${port}`))).rejects.toThrow(
    `DNS over TCP cannot listen on 127.0.0.1:${port}: EADDRINUSE`,
  );
});

test('listening everywhere, the answer comes from the address that was asked', async () => {
  const resolver = new Resolver({ view, isReady: () => true, upstreams: new Upstreams([]), metrics, logger });
  const everywhereTcp = new TcpListener(resolver, logger);
  const everywhere = new UdpListener(resolver, logger);
  const free = await everywhereTcp.listen(parseListenAddress(':0'));
  await everywhere.listen(parseListenAddress(`:${free}`));
  try {
    const { stdout } = await run('ip', ['-j', '-4', 'addr', 'show', 'scope', 'global']);
    const interfaces = JSON.parse(stdout) as { addr_info: { local: string }[] }[];
    const addresses = [
      '127.0.0.1',
      '::1',
      ...interfaces.flatMap((link) => link.addr_info.map((info) => info.local)),
    ];
    for (const address of addresses) {
      const args = [`@${address}`, '-p', String(free), '+tries=1', '+timeout=2', '+short'];
      // dig refuses an answer from another address ("reply from unexpected source").
      const { stdout } = await run('dig', [...args, 'web.default.svc.cluster.local']);
      expect([address, stdout]).toEqual([address, '10.96.0.7\n']);
    }
    const refused = await run('dig', ['@127.0.0.1', '-p', String(free), '+tries=1', 'example.org']);
    expect(refused.stdout).toMatch(/status: REFUSED[\s\S]*EDE: 20/);
  } finally {
    await Promise.all([everywhere.close(), everywhereTcp.close()]);
  }
});

test('what happened is counted under the names of CoreDNS', async () => {
  const text = await metrics.text();
  expect(text).toMatch(
    /coredns_dns_requests_total\{server="dns:\/\/:53",zone="cluster\.local\.",view="",proto="udp",family="1",type="A"\} \d+/,
  );
  expect(text).toMatch(/coredns_dns_responses_total\{[^}]*rcode="NXDOMAIN",plugin="kubernetes"\} \d+/);
  expect(text).toMatch(/coredns_dns_request_duration_seconds_bucket\{le="0\.00025"/);
  expect(text).toMatch(/^coredns_panics_total 0$/m);
});
