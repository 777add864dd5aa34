import { afterEach, beforeEach, expect, test } from 'vitest';
import { Host } from '../../../../test/conformance/proxy/host.ts';
import { servicePort } from '../../../../test/conformance/proxy/service-ports.ts';
import { run } from '../../../kernel/exec/run.ts';
import { IpvsSocket } from '../../../kernel/ipvs/ipvs-socket.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import type { ServicePort } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import { IpvsBackend } from './backend.ts';
import type { IpvsModeSettings } from './settings.ts';

const SETTINGS: ProxySettings = {
  families: [4, 6],
  nodeIps: [Ip.parse('10.250.0.1')],
  nodePortAddresses: 'all',
  localhostNodePorts: false,
  localTraffic: { kind: 'cidrs', cidrs: [Cidr.parse('10.244.0.0/16')] },
  serviceCidrs: [],
  masqueradeAll: false,
  masqueradeBit: 14,
};

/** A node and a pod, with a wire between them. */
let node: Host;
let pod: Host;
let backend: IpvsBackend | undefined;

beforeEach(async () => {
  node = new Host('fnt-iv', 'node');
  pod = new Host('fnt-iv', 'pod');
  const setUp: [Host, string[]][] = [
    [
      node,
      [
        'link set lo up',
        `link add pod0 type veth peer name eth0 netns ${pod.namespace}`,
        'address add 10.250.0.1/24 dev pod0',
        'address add fd00:250::1/64 dev pod0 nodad',
        'link set pod0 up',
        'route add 10.244.1.2/32 dev pod0',
      ],
    ],
    [
      pod,
      [
        'link set lo up',
        'address add 10.244.1.2/32 dev eth0',
        'address add fd00:244::2/128 dev eth0 nodad',
        'link set eth0 up',
        'route add 10.250.0.1/32 dev eth0',
        'route add default via 10.250.0.1',
        'route add fd00:250::1/128 dev eth0',
        'route add default via fd00:250::1',
      ],
    ],
    [node, ['route add fd00:244::2/128 dev pod0']],
  ];
  for (const [host, commands] of setUp) {
    const input = `${commands.join('\n')}\n`;
    await run('ip', ['-n', host.namespace, '-batch', '-'], { input });
  }
  await pod.listen([8080, 7]);
});

afterEach(async () => {
  await backend?.close();
  backend = undefined;
  node.stop();
  pod.stop();
});

async function open(ports: readonly ServicePort[], mode: IpvsModeSettings = {}): Promise<IpvsBackend> {
  backend = await IpvsBackend.open(SETTINGS, mode, undefined, node.netns.fd);
  await backend.prepare();
  await backend.rebuild(ports);
  return backend;
}

async function inNode(command: string, ...args: string[]): Promise<string> {
  return (await run(command, args, { netns: node.netns.fd })).stdout;
}

/** Without spaces at the ends, in order. */
function lines(text: string): string[] {
  return text
    .trim()
    .split('\n')
    .map((line) => line.trimEnd())
    .sort();
}

const ENDPOINT = { address: '10.244.1.2', port: 8080, local: true };
const WEB = servicePort({ endpoints: [ENDPOINT], nodePort: 30080 });
const WEB6 = servicePort({ family: 6, endpoints: [{ address: 'fd00:244::2', port: 8080, local: true }] });

test('ipvsadm, ipset and ip show what kube-proxy’s users look for', async () => {
  await open(
    [WEB, WEB6, servicePort({ service: 'test/dns', protocol: 'UDP', port: 53, affinitySeconds: 10_800 })],
    {
      scheduler: 'wlc',
      tcpTimeout: 1_200_000,
    },
  );
  expect(lines(await inNode('ipvsadm', '-Sn'))).toEqual([
    '-A -t 10.250.0.1:30080 -s wlc',
    '-A -t 10.96.0.1:80 -s wlc',
    '-A -t [fd00:10:96::1]:80 -s wlc',
    '-A -u 10.96.0.1:53 -s wlc -p 10800',
    '-a -t 10.250.0.1:30080 -r 10.244.1.2:8080 -m -w 1',
    '-a -t 10.96.0.1:80 -r 10.244.1.2:8080 -m -w 1',
    '-a -t [fd00:10:96::1]:80 -r [fd00:244::2]:8080 -m -w 1',
  ]);
  expect(await inNode('ipvsadm', '-l', '--timeout')).toContain('1200 120 300');
  expect(await inNode('ip', '-br', 'address', 'show', 'kube-ipvs0')).toMatch(
    /10\.96\.0\.1\/32 fd00:10:96::1\/128/,
  );
  expect(await inNode('ipset', 'list', 'KUBE-CLUSTER-IP')).toContain('10.96.0.1,tcp:80\n');
  expect(await inNode('ipset', 'list', 'KUBE-NODE-PORT-TCP')).toContain('30080');
});

test.each([
  ['ClusterIP', '10.96.0.1', 80],
  ['node port', '10.250.0.1', 30080],
  ['ClusterIP in IPv6', 'fd00:10:96::1', 80],
] as const)('%s: the node reaches the pod with an address that the pod can answer', async (_, host, port) => {
  await open([WEB, WEB6]);
  const source = host.includes(':') ? 'fd00:250::1' : '10.250.0.1';
  expect((await node.call(host, port)).reply).toEqual({ host: 'pod', port: 8080, source });
});

test('hairpin: a pod that calls itself sees the node', async () => {
  await open([WEB]);
  expect((await pod.call('10.96.0.1', 80)).reply?.source).toBe('10.250.0.1');
});

test('ports that no Service has are refused, whatever the node listens on', async () => {
  await open([WEB, WEB6]);
  await node.listen([9999]);
  for (const host of ['10.96.0.1', 'fd00:10:96::1']) {
    expect((await pod.call(host, 9999)).error).toBe('ECONNREFUSED');
  }
});

test('a connection goes on when its endpoint, its Service and the mode have gone; then nothing is left', async () => {
  const echo = servicePort({ endpoints: [{ ...ENDPOINT, port: 7 }] });
  const ipvs = await open([echo]);
  const connection = node.hold('10.96.0.1', 80);
  expect(await connection.ask()).toBe('pod');
  await ipvs.update([{ id: echo.id, port: servicePort({}) }]);
  expect(await connection.ask()).toBe('pod');
  expect((await node.call('10.96.0.1', 80)).error).toBe('ECONNREFUSED');
  await ipvs.update([{ id: echo.id, port: undefined }]);
  expect(await connection.ask()).toBe('pod');
  // Another mode has taken over: without anybody who uses it the kernel switches connection tracking off.
  await inNode('iptables-legacy', '-A', 'FORWARD', '-m', 'conntrack', '--ctstate', 'NEW', '-j', 'ACCEPT');
  await ipvs.remove();
  expect(await connection.ask()).toBe('pod');
  expect(await inNode('ipset', 'list', '-n')).toBe('');
  // What the kernel still remembers of it would take two minutes to go.
  const kernel = IpvsSocket.open(node.netns.fd);
  kernel?.flush();
  kernel?.close();
  await ipvs.drained();
  expect(await inNode('ip', '-br', 'link')).not.toContain('kube-ipvs0');
}, 30_000);

test('a process that starts again changes nothing', async () => {
  const before = await open([WEB, WEB6]);
  await before.close();
  const after = await IpvsBackend.open(SETTINGS, {}, undefined, node.netns.fd);
  backend = after;
  await after.prepare();
  expect((await after.rebuild([WEB, WEB6])).describe()).toEqual([]);
  expect([await after.foreignChange(), await after.foreignChange()]).toEqual([false, false]);
  await inNode('ipvsadm', '-C');
  expect(await after.foreignChange()).toBe(true);
  await after.rebuild([WEB, WEB6]);
  expect(await inNode('ipvsadm', '-Ln')).toContain('10.244.1.2:8080');
});
