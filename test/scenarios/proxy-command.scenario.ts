import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { CommandError } from '../../src/kernel/exec/run.ts';
import { ProxyMachine } from './proxy-machine.ts';

// `flatnet proxy` in place of kube-proxy: with the file that kubeadm writes, beside nothing else of Flatnet.

const CLUSTER_IP = '10.96.0.50';
const NODE_PORT = '192.0.2.10:30080';
const HELLO = 'hello from the pod';

let machine: ProxyMachine;

beforeAll(async () => {
  machine = await ProxyMachine.start();
});

afterAll(async () => {
  await machine?.stop();
});

/** Awaits the answer; the log of the proxy is shown where it does not come. */
async function until(look: () => Promise<string>, wanted: string | RegExp): Promise<void> {
  await vi.waitFor(
    async () => {
      const found = await look().catch(String);
      const isThere = typeof wanted === 'string' ? found === wanted : wanted.test(found);
      if (!isThere) throw new Error(`${found}\nis not ${String(wanted)}\n${machine.log}`);
    },
    { timeout: 20_000, interval: 50 },
  );
}

const mode = async (): Promise<string> => machine.get('/proxyMode', 10_249);

/** What proxies of any mode leave in the kernel, a line each; KUBE-FIREWALL is the kubelet's too, and stays. */
async function leftovers(): Promise<string[]> {
  const tables = await machine.run('nft', 'list', 'tables');
  const rules = await Promise.all([
    machine.run('iptables-save'),
    machine.run('ip6tables-save'),
    machine.run('iptables-legacy-save'),
  ]);
  const own = /KUBE-(?!FIREWALL)|FLATNET|flatnet|kube-proxy/;
  return [tables, ...rules].flatMap((text) => text.split('\n').filter((line) => own.test(line)));
}

test('it waits for its Node, and says what it waits for', async () => {
  machine.startProxy('--config', machine.configFile, '--proxy-mode=nftables', '-v=4');
  await until(async () => mode(), 'iptables 200');
  expect(machine.log).toContain('ignored, as --config is given: --proxy-mode');
  expect(await machine.get('/livez')).toMatch(/^\{"lastUpdated": ".* UTC","currentTime": ".* UTC"\} 200$/);
  await machine.createService('web', CLUSTER_IP, 30_080);
  await machine.registerNode();
  await until(async () => machine.call(CLUSTER_IP), HELLO);
});

test("kubeadm's file: iptables mode, with kube-proxy's chains, addresses and metrics", async () => {
  await until(async () => machine.call(NODE_PORT), HELLO);
  expect(await machine.run('iptables-save', '-t', 'nat')).toContain(
    '-A KUBE-SERVICES -d 10.96.0.50/32 -p tcp',
  );
  expect(await machine.get('/healthz')).toMatch(
    /^\{"lastUpdated": "\d{4}-\d\d-\d\d \d\d:\d\d:\d\d.* UTC","currentTime": ".* UTC", "nodeEligible": true\} 200$/,
  );
  const metrics = await machine.get('/metrics', 10_249);
  expect(metrics).toMatch(/^kubeproxy_sync_proxy_rules_duration_seconds_count\{.*\} [1-9]/m);
  expect(metrics).toMatch(/^kubeproxy_proxy_healthz_total\{code="200"\} [1-9]/m);
  expect(await machine.get('/healthz', 10_249)).toBe('ok 200');
  expect(await machine.get('/configz', 10_249)).toContain('"kubeproxy.config.k8s.io":{"');
  expect(await machine.get('/nothing')).toMatch(/404$/);
});

test('the mode changes with the file, and the rules of the mode before go', async () => {
  machine.editConfig((text) => text.replace('mode: ""', 'mode: nftables'));
  await until(mode, 'nftables 200');
  expect(await machine.call(CLUSTER_IP)).toBe(HELLO);
  await until(async () => machine.run('iptables-save'), /^(?![\s\S]*KUBE-S)/);
  machine.editConfig((text) => text.replace('mode: nftables', 'mode: iptables'));
  await until(mode, 'iptables 200');
  expect(await machine.call(NODE_PORT)).toBe(HELLO);
});

test('a file that is wrong is told of, and the one before stays', async () => {
  machine.editConfig((text) => text.replace('mode: iptables', 'mode: ebpf\nmood: good'));
  await until(
    async () => Promise.resolve(machine.log),
    /config\.conf: mode: \\"ebpf\\" is not one of .*mood: unknown field; did you mean mode\?/,
  );
  expect(await machine.call(CLUSTER_IP)).toBe(HELLO);
  expect(await mode()).toBe('iptables 200');
  machine.editConfig((text) => text.replace('mode: ebpf\nmood: good', 'mode: iptables'));
});

test('other changes are taken without a new process: another port of the metrics', async () => {
  machine.editConfig((text) => text.replace('metricsBindAddress: ""', 'metricsBindAddress: 127.0.0.1:10250'));
  await until(async () => machine.get('/proxyMode', 10_250), 'iptables 200');
  expect(await machine.call(CLUSTER_IP)).toBe(HELLO);
});

test('a change that turns out not to work is taken back', async () => {
  machine.editConfig((text) =>
    text
      .replace('bindAddressHardFail: false', 'bindAddressHardFail: true')
      .replace('healthzBindAddress: ""', 'healthzBindAddress: 127.0.0.1:6443'),
  );
  await until(
    async () => Promise.resolve(machine.log),
    /healthzBindAddress 127\.0\.0\.1:6443: cannot listen[\s\S]*going back to the one before/,
  );
  await until(async () => machine.get('/healthz'), /200$/);
  expect(await machine.call(CLUSTER_IP)).toBe(HELLO);
  machine.editConfig((text) =>
    text
      .replace('bindAddressHardFail: true', 'bindAddressHardFail: false')
      .replace('healthzBindAddress: 127.0.0.1:6443', 'healthzBindAddress: ""'),
  );
});

test('on SIGTERM all stays in the kernel', async () => {
  expect(await machine.stopProxy()).toBe(0);
  expect(await machine.call(CLUSTER_IP)).toBe(HELLO);
  expect(await machine.call(NODE_PORT)).toBe(HELLO);
});

test('flags alone: another mode, and what the mode before left goes', async () => {
  machine.startProxy(
    '--proxy_mode=nftables',
    `--kubeconfig=${join(machine.folder, 'kubeconfig.conf')}`,
    '--masquerade-all',
    '--cluster-cidr=10.244.0.0/16',
    '--healthz-bind-address=127.0.0.1',
    '--v=2',
  );
  await until(mode, 'nftables 200');
  await until(async () => machine.get('/healthz'), /200$/);
  await until(async () => machine.run('iptables-save'), /^(?![\s\S]*KUBE-S)/);
  expect(await machine.call(CLUSTER_IP)).toBe(HELLO);
  await machine.stopProxy();
});

test.each(['nftables', 'iptables', 'userspace'])(
  'killed, the next one in the mode %s changes nothing; --cleanup leaves nothing of it behind',
  async (wanted) => {
    const start = async (): Promise<void> => {
      machine.startProxy(
        `--proxy-mode=${wanted}`,
        `--kubeconfig=${join(machine.folder, 'kubeconfig.conf')}`,
        '--cluster-cidr=10.244.0.0/16',
      );
      await until(async () => machine.get('/healthz'), /200$/);
      expect(await mode()).toBe(`${wanted} 200`);
      await until(async () => machine.call(CLUSTER_IP), HELLO);
    };
    await start();
    const rules = await leftovers();
    await machine.stopProxy('SIGKILL');
    await start();
    // In the userspace mode the ports of the process are among them.
    expect(await leftovers()).toEqual(rules);
    await machine.stopProxy();
    expect(await leftovers()).not.toEqual([]);
    await machine.flatnetProxy('--cleanup');
    expect(await leftovers()).toEqual([]);
  },
);

test('bindAddressHardFail ends the process when a port is taken', async () => {
  machine.startProxy(
    `--master=https://127.0.0.1:1`,
    '--bind-address-hard-fail',
    '--healthz-bind-address=127.0.0.1:6443',
  );
  expect(await machine.proxyEnd()).toBe(1);
  expect(machine.log).toContain('healthzBindAddress 127.0.0.1:6443: cannot listen');
});

test('--init-only sets what the kernel needs, and no rule', async () => {
  await machine.run('sysctl', '-qw', 'net.ipv4.conf.all.route_localnet=0');
  await machine.flatnetProxy(
    '--init-only',
    '--proxy-mode=iptables',
    '--conntrack-tcp-timeout-established=20h',
  );
  expect(await machine.run('sysctl', '-n', 'net.ipv4.conf.all.route_localnet')).toBe('1\n');
  expect(await machine.run('sysctl', '-n', 'net.netfilter.nf_conntrack_tcp_timeout_established')).toBe(
    '72000\n',
  );
  expect(await leftovers()).toEqual([]);
});

test('exit codes: 2 for flags, 1 for a file', async () => {
  const fails = async (...args: string[]): Promise<CommandError> =>
    machine.flatnetProxy(...args).then(
      () => Promise.reject(new Error('it did not fail')),
      (error: unknown) => {
        if (error instanceof CommandError) return error;
        throw error;
      },
    );
  const flag = await fails('--conntrack-min=many');
  expect([flag.exitCode, flag.stderr]).toEqual([
    2,
    expect.stringContaining("'many' is invalid. It must be a whole number"),
  ]);
  const unknown = await fails('--prox-mode=iptables');
  expect([unknown.exitCode, unknown.stderr]).toEqual([2, expect.stringContaining('unknown option')]);
  const file = join(machine.folder, 'bad.conf');
  writeFileSync(
    file,
    'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\niptables: {masqueradeBit: 99}\n',
  );
  const config = await fails('--config', file);
  expect([config.exitCode, config.stderr]).toEqual([
    1,
    expect.stringContaining(`${file}: iptables.masqueradeBit: must be a whole number from 0 to 31`),
  ]);
});

test('--write-config-to writes what --config takes', async () => {
  const file = join(machine.folder, 'written.conf');
  await machine.flatnetProxy('--write-config-to', file, '--proxy-mode=ipvs', '--ipvs-strict-arp');
  const again = join(machine.folder, 'again.conf');
  await machine.flatnetProxy('--config', file, '--write-config-to', again);
  expect(await machine.run('cat', again)).toBe(await machine.run('cat', file));
  expect(await machine.run('cat', file)).toMatch(/mode: ipvs[\s\S]*/);
});
