import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { servicePort } from '../../../../test/conformance/proxy/service-ports.ts';
import { run } from '../../../kernel/exec/run.ts';
import { TABLES, type IptablesVariant } from '../../../kernel/iptables/objects.ts';
import { createNetns, deleteNetns, Netns } from '../../../kernel/netns/netns.ts';
import { readSysctl } from '../../../kernel/sysctl/sysctl.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import type { ServicePort } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import { IptablesBackend } from './backend.ts';
import {
  CAPTURED_SETTINGS,
  capturedPorts,
  capturedTables,
  comparableTables,
} from './fixtures/captured-cluster.ts';

const NAME = `fnt-ipt${process.pid}`;
const DUAL: ProxySettings = {
  ...CAPTURED_SETTINGS,
  families: [4, 6],
  nodeIps: [Ip.parse('10.250.1.2'), Ip.parse('fd00:250::2')],
  localTraffic: { kind: 'cidrs', cidrs: [Cidr.parse('10.244.0.0/16'), Cidr.parse('fd00:10:244::/56')] },
};

let netns: Netns;
const opened: IptablesBackend[] = [];

beforeEach(() => {
  createNetns(NAME);
  netns = Netns.named(NAME);
});

afterEach(async () => {
  for (const backend of opened.splice(0)) await backend.close();
  netns.close();
  deleteNetns(NAME);
});

describe.each(['nft', 'legacy'] as const)('iptables-%s', (variant) => {
  test('the captured cluster: the same chains and rules as kube-proxy has', async () => {
    await start(variant, capturedPorts());
    expect(await tables(variant)).toEqual(capturedTables());
    expect(readSysctl('net.ipv4.conf.all.route_localnet', netns.fd)).toBe('1');
  });

  test('a new process changes nothing', async () => {
    await start(variant, dualStack(), DUAL);
    const next = await open(variant, DUAL);
    expect((await next.rebuild(dualStack())).describe()).toEqual([]);
    expect(await next.foreignChange()).toBe(false);
  });

  test('what kube-proxy wrote, through the tool, is adopted as it is', async () => {
    const backend = await open(variant);
    const texts = Object.entries(capturedTables()).map(([table, chains]) => {
      const rules = Object.entries(chains).flatMap(([chain, own]) =>
        own.map((rule) => `-A ${chain} ${rule}`),
      );
      const lines = [...rules].sort((a, b) => Number(isLast(a)) - Number(isLast(b)));
      const made = Object.keys(chains).filter((chain) => chain.startsWith('KUBE-'));
      return [`*${table}`, ...made.map((chain) => `:${chain} - [0:0]`), ...lines, 'COMMIT', ''].join('\n');
    });
    // kube-proxy leaves the mask out, which is not the same to the tool as the mask that it prints.
    const input = texts.join('').replaceAll(' --mask 255.255.255.255 --rsource', '');
    await run(`iptables-${variant}-restore`, ['--noflush'], { input, netns: netns.fd });
    expect((await backend.rebuild(capturedPorts())).describe()).toEqual([]);
  });

  test('packets that were counted are not forgotten', async () => {
    const backend = await start(variant, capturedPorts());
    const tool = async (...args: string[]) =>
      run(`iptables-${variant}`, ['-w', ...args], { netns: netns.fd });
    await tool('-t', 'nat', '-A', 'KUBE-SVC-UFRI2DNT7KPLUGH7', '-c', '7', '77', '-j', 'RETURN');
    await tool('-t', 'nat', '-A', 'POSTROUTING', '-c', '5', '55', '-s', '192.0.2.1', '-j', 'RETURN');
    const [port] = capturedPorts();
    if (port === undefined) throw new Error('there are service ports');
    await backend.update([{ id: port.id, port: { ...port, endpoints: port.endpoints.slice(1) } }]);
    await backend.update([
      { id: 'test/new:80/TCP/4', port: servicePort({ service: 'test/new', address: '10.96.77.7' }) },
    ]);
    const saved = await run(`iptables-${variant}-save`, ['-c', '-t', 'nat'], { netns: netns.fd });
    expect(saved.stdout).toContain('[7:77] -A KUBE-SVC-UFRI2DNT7KPLUGH7 -j RETURN');
    expect(saved.stdout).toContain('[5:55] -A POSTROUTING -s 192.0.2.1/32 -j RETURN');
  });

  test('one by one it becomes the same as at once, and nothing is left when all are gone', async () => {
    const backend = await start(variant, [], DUAL);
    const empty = await tables(variant);
    for (const port of dualStack()) await backend.update([{ id: port.id, port }]);
    expect(await backend.foreignChange()).toBe(false);
    const next = await open(variant, DUAL);
    expect((await next.rebuild(dualStack())).describe()).toEqual([]);
    for (const port of dualStack()) await backend.update([{ id: port.id, port: undefined }]);
    expect(await tables(variant)).toEqual(empty);
  });

  test('what is wrong or missing is put right, what others have stays', async () => {
    const backend = await start(variant, capturedPorts());
    const before = await tables(variant);
    const tool = async (...args: string[]) =>
      run(`iptables-${variant}`, ['-w', ...args], { netns: netns.fd });
    await tool('-t', 'nat', '-I', 'KUBE-SERVICES', '-d', '10.96.10.1', '-j', 'RETURN');
    await tool('-t', 'nat', '-F', 'KUBE-SVC-DCUHBVQYURQLMHAP');
    await tool('-t', 'nat', '-D', 'KUBE-SERVICES', '3');
    await tool('-t', 'nat', '-D', 'POSTROUTING', '1');
    await tool('-t', 'nat', '-N', 'KUBE-SVC-GONE');
    expect(await backend.foreignChange()).toBe(true);
    await tool('-t', 'nat', '-N', 'OTHERS');
    await tool(
      '-t',
      'nat',
      '-A',
      'OTHERS',
      '-s',
      '192.0.2.0/24',
      '-m',
      'limit',
      '--limit',
      '3/sec',
      '-j',
      'RETURN',
    );
    await tool('-t', 'nat', '-I', 'PREROUTING', '1', '-j', 'OTHERS');
    await backend.rebuild(capturedPorts());
    const after = await tables(variant);
    expect(after.nat['OTHERS']).toEqual([
      expect.stringMatching(/^-s 192.0.2.0\/24 -m limit --limit 3\/sec -j RETURN$/),
    ]);
    expect(after.nat['PREROUTING']).toEqual(['-j OTHERS', ...(before.nat['PREROUTING'] ?? [])]);
    const { OTHERS: _others, PREROUTING: _prerouting, ...nat } = after.nat;
    const { PREROUTING: _before, ...natBefore } = before.nat;
    expect({ ...after, nat }).toEqual({ ...before, nat: natBefore });
    expect(await backend.foreignChange()).toBe(false);
  });

  test('removed, nothing of it is left but what kubelet has too', async () => {
    const backend = await start(variant, dualStack(), DUAL);
    await backend.remove();
    for (const family of [4, 6] as const) {
      for (const chains of Object.values(await tables(variant, family))) {
        const rest = Object.entries(chains).filter(([, rules]) => rules.length > 0);
        expect(rest.filter(([chain]) => !['INPUT', 'OUTPUT', 'KUBE-FIREWALL'].includes(chain))).toEqual([]);
        expect(Object.keys(chains).filter((chain) => /^KUBE-(?!FIREWALL)/.test(chain))).toEqual([]);
      }
    }
    await backend.remove();
  });

  test('hostile names stay in their comments', async () => {
    const service = 'test/x" -j ACCEPT \'`$(id)\\\n-A INPUT -j DROP\n*mangle';
    const ports = [servicePort({ service, endpoints: [{ address: '10.244.0.9', port: 80, local: true }] })];
    await start(variant, ports);
    const next = await open(variant);
    expect((await next.rebuild(ports)).describe()).toEqual([]);
    expect((await tables(variant)).filter['INPUT']?.join('\n')).not.toContain('-j DROP');
  });
});

async function open(variant: IptablesVariant, settings = CAPTURED_SETTINGS): Promise<IptablesBackend> {
  const backend = await IptablesBackend.open(settings, { variant }, undefined, netns.fd);
  opened.push(backend);
  await backend.prepare();
  return backend;
}

async function start(
  variant: IptablesVariant,
  ports: readonly ServicePort[],
  settings = CAPTURED_SETTINGS,
): Promise<IptablesBackend> {
  const backend = await open(variant, settings);
  await backend.rebuild(ports);
  return backend;
}

async function tables(variant: IptablesVariant, family = 4): Promise<ReturnType<typeof comparableTables>> {
  const tool = `${family === 4 ? 'iptables' : 'ip6tables'}-${variant}-save`;
  const texts = new Map<string, string>();
  for (const table of TABLES) texts.set(table, (await run(tool, ['-t', table], { netns: netns.fd })).stdout);
  return comparableTables((table) => texts.get(table) ?? '');
}

function six(address: string): string {
  return `fd00::${address.replaceAll('.', ':')}`;
}

function isLast(rule: string): boolean {
  return rule.includes('must be the last rule');
}

function sixes(list: ServicePort['endpoints']): ServicePort['endpoints'] {
  return list.map((end) => ({ ...end, address: six(end.address) }));
}

/** The captured cluster's service ports, and the same in IPv6. */
function dualStack(): ServicePort[] {
  return capturedPorts().flatMap((port) => [
    port,
    {
      ...port,
      id: port.id.replace(/4$/, '6'),
      family: 6,
      address: six(port.address),
      externalIps: port.externalIps.map(six),
      loadBalancerIps: port.loadBalancerIps.map(six),
      sourceRanges: port.sourceRanges?.map(() => 'fd00:1::/64'),
      endpoints: sixes(port.endpoints),
      localEndpoints: sixes(port.localEndpoints),
    },
  ]);
}
