import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { run } from '../../kernel/exec/run.ts';
import { Netns } from '../../kernel/netns/netns.ts';
import { createLogger } from '../../log/logger.ts';
import { parseKubeProxyConfig } from '../config/parse.ts';
import { cleanUp } from './clean-up.ts';

// What kube-proxy leaves, in each of its modes, goes; what is kubelet's or somebody else's stays.

const FIXTURES = join(import.meta.dirname, '..', 'backends', 'iptables', 'fixtures');

let netns: Netns;

beforeEach(() => {
  netns = Netns.createAnonymous();
});

afterEach(() => netns.close());

async function inside(command: string, args: readonly string[], input?: string): Promise<string> {
  return (await run(command, args, { netns: netns.fd, ...(input === undefined ? {} : { input }) })).stdout;
}

async function clean(): Promise<void> {
  const head = { apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration' };
  await cleanUp(parseKubeProxyConfig(JSON.stringify(head), 'test'), createLogger('test', 'silent'), netns.fd);
}

/** Chains and rules, without comments and policies. */
async function rules(tool: string): Promise<string[]> {
  return (await inside(tool, [])).split('\n').filter((line) => /^(?::KUBE|:DOCKER|-A)/.test(line));
}

const KUBELET = [':KUBE-FIREWALL - [0:0]', '-A INPUT -j KUBE-FIREWALL', '-A OUTPUT -j KUBE-FIREWALL'];

test.each(['iptables-nft', 'iptables-legacy'])('iptables mode, %s', async (tool) => {
  for (const table of ['nat', 'filter', 'mangle']) {
    const saved = readFileSync(join(FIXTURES, `iptables-${table}.txt`), 'utf8');
    await inside(`${tool}-restore`, ['--noflush'], saved.replaceAll(/ -m nfacct --nfacct-name +\S+/g, ''));
  }
  // As kube-proxy 1.13 to 1.19 had it besides, and what else there may be.
  const former = 'INPUT -m conntrack --ctstate NEW -m comment --comment';
  await inside(tool, [...`-A ${former}`.split(' '), 'kubernetes service portals', '-j', 'KUBE-SERVICES']);
  await inside(tool, ['-N', 'DOCKER-USER']);
  await inside(tool, [
    '-A',
    'FORWARD',
    '-m',
    'comment',
    '--comment',
    'not -j KUBE-SERVICES',
    '-j',
    'DOCKER-USER',
  ]);
  await clean();
  expect(await rules(`${tool}-save`)).toEqual([
    ':DOCKER-USER - [0:0]',
    KUBELET[0],
    KUBELET[1],
    '-A FORWARD -m comment --comment "not -j KUBE-SERVICES" -j DOCKER-USER',
    KUBELET[2],
    expect.stringContaining('-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8'),
  ]);
});

/** What kube-proxy 1.36 writes with one Service of type LoadBalancer; `-m ipvs` is not in every kernel. */
const IPVS = `*nat
:KUBE-LOAD-BALANCER - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-SERVICES -s 127.0.0.0/8 -j RETURN
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-IPVS-FILTER - [0:0]
:KUBE-IPVS-OUT-FILTER - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SOURCE-RANGES-FIREWALL - [0:0]
-A INPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER
-A INPUT -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check rules" -j KUBE-NODE-PORT
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A OUTPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-OUT-FILTER
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-IPVS-OUT-FILTER -s 192.0.2.20/32 -p tcp -m tcp --dport 80 -j DROP
-A KUBE-SOURCE-RANGES-FIREWALL -j DROP
COMMIT
`;

test.each(['iptables-nft', 'iptables-legacy'])(
  'ipvs mode, %s: chains, ipsets and kube-ipvs0',
  async (tool) => {
    await inside('ipset', ['create', 'KUBE-CLUSTER-IP', 'hash:ip,port']);
    await inside('ipset', [
      'create',
      'KUBE-6-LOAD-BALANCER-SOURCE-CIDR'.slice(0, 31),
      'hash:ip,port,net',
      'family',
      'inet6',
    ]);
    await inside('ipset', ['create', 'theirs', 'hash:ip']);
    await inside(`${tool}-restore`, [], IPVS);
    // Any kind of device: not every kernel has dummy ones.
    await inside('ip', ['link', 'add', 'kube-ipvs0', 'type', 'bridge']);
    await clean();
    expect(await rules(`${tool}-save`)).toEqual(KUBELET);
    expect(await inside('ipset', ['list', '-n'])).toBe('theirs\n');
    expect(await inside('ip', ['-br', 'link'])).not.toContain('kube-ipvs0');
  },
);

test('nftables mode: both tables, and no other; with nothing there, nothing is wrong', async () => {
  const tables = ['ip kube-proxy', 'ip6 kube-proxy', 'inet kube-proxy', 'ip theirs'];
  await inside(
    'nft',
    ['-f', '-'],
    tables.map((table) => `table ${table} { chain services { drop; }; }\n`).join(''),
  );
  await clean();
  await clean();
  expect(await inside('nft', ['list', 'tables'])).toBe('table inet kube-proxy\ntable ip theirs\n');
});
