import { readFileSync, writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readInvocation, type FlagValues, type Invocation } from '../proxy/config/invocation.ts';
import { commandWithFlags, valuesOf } from './proxy-flags.ts';

function flags(...words: string[]): FlagValues {
  const silent = { writeErr: () => {}, writeOut: () => {} };
  const command = commandWithFlags('proxy').exitOverride().configureOutput(silent);
  command.parse(words, { from: 'user' });
  return valuesOf(command.opts());
}

const invoke = async (...words: string[]): Promise<Invocation> => readInvocation(flags(...words));

describe('flags as Go takes them', () => {
  test.each([
    [['--masquerade-all'], true],
    [['--masquerade-all=true'], true],
    [['--masquerade-all=T'], true],
    [['--masquerade_all'], true],
    [['--masquerade-all=false'], false],
    [['--masquerade-all=0'], false],
    [['--masquerade-all', '--masquerade-all=false'], false],
  ])('%j', async (words, wanted) => {
    const { config } = await invoke(...words);
    expect([config.iptables.masqueradeAll, config.nftables.masqueradeAll]).toEqual([wanted, wanted]);
  });

  test.each([[['--v=4']], [['-v=4']], [['-v4']], [['-v', '4']], [['--v', '4']], [['--v=2', '--v=4']]])(
    'verbosity: %j',
    async (words) => {
      expect((await invoke(...words)).config.logging.verbosity).toBe(4);
    },
  );

  test('lists and gates add up', async () => {
    const { config } = await invoke(
      '--nodeport-addresses=10.0.0.0/8,192.168.0.0/16',
      '--nodeport-addresses=fd00::/8',
      '--feature-gates=A=true',
      '--feature-gates=B=false,A=false',
    );
    expect(String(config.nodePortAddresses)).toBe('10.0.0.0/8,192.168.0.0/16,fd00::/8');
    expect(config.featureGates).toEqual({ A: false, B: false });
  });

  test.each([
    [['--proxy-mode=iptables', '--iptables-sync-period=1m'], 'iptables', 60_000],
    [['--proxy-mode=nftables', '--iptables-sync-period=1m'], 'nftables', 60_000],
    [['--proxy-mode=ipvs', '--iptables-sync-period=1m'], 'ipvs', 30_000],
    [['--proxy-mode=ipvs', '--ipvs-sync-period=2m'], 'ipvs', 120_000],
  ] as const)('%j', async (words, mode, period) => {
    const { config } = await invoke(...words);
    expect(config.mode).toBe(mode);
    expect(config[mode].syncPeriod).toBe(period);
  });

  test.each([
    [['--healthz-bind-address='], undefined],
    [['--healthz-port=0'], undefined],
    [['--healthz-port=9000'], '{"host":"0.0.0.0","port":9000}'],
    [['--healthz-bind-address=127.0.0.1'], '{"host":"127.0.0.1","port":10256}'],
    [['--healthz-bind-address=127.0.0.1', '--healthz-port=9000'], '{"host":"127.0.0.1","port":9000}'],
    [['--healthz-bind-address=127.0.0.1:9001', '--healthz-port=9000'], '{"host":"127.0.0.1","port":9001}'],
    [['--healthz-bind-address=[::1]:9001'], '{"host":"::1","port":9001}'],
  ])('the health server by %j', async (words, wanted) => {
    expect(JSON.stringify((await invoke(...words)).config.healthzBindAddress)).toBe(wanted);
  });

  test('the name of the node is made lower case', async () => {
    expect((await invoke('--hostname-override= Node-A ')).config.hostnameOverride).toBe('node-a');
  });
});

describe('flags that are about', () => {
  test.each([
    ['kops', 'iptables', '100.96.0.0/11', 131_072],
    ['k3s', 'iptables', '10.42.0.0/16', 0],
    ['rke2', 'ipvs', '10.42.0.0/16,2001:cafe:42::/56', 0],
    ['gke', 'iptables', '10.8.0.0/14', 32_768],
    ['underscores', 'userspace', '192.168.64.0/19', 0],
  ])('%s', async (name, mode, cidrs, maxPerCore) => {
    const file = join(import.meta.dirname, '..', 'proxy', 'config', 'fixtures', `${name}.flags`);
    const { config } = await invoke(...readFileSync(file, 'utf8').trim().split('\n'));
    expect(config.mode).toBe(mode);
    expect(String(config.clusterCIDR)).toBe(cidrs);
    expect(config.conntrack.maxPerCore).toBe(maxPerCore);
  });
});

test('flags that say nothing here are told of', async () => {
  const { notes } = await invoke('--alsologtostderr', '--log_dir=/var/log', '--healthz-port=10256', '--v=2');
  expect(notes).toEqual([
    '--healthz-port is deprecated: use --healthz-bind-address',
    '--alsologtostderr has no effect: log lines are JSON on standard error',
    '--log-dir has no effect: log lines are JSON on standard error',
  ]);
});

describe('beside --config', () => {
  let folder = '';
  let file = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'fnt-proxy-flags-'));
    file = join(folder, 'config.conf');
    const head = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';
    writeFileSync(
      file,
      `${head}mode: nftables\nhostnameOverride: from-file\nlogging: {format: json, verbosity: 1}\n`,
    );
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test('the file is what counts, and what is ignored is told', async () => {
    const { config, ignored } = await invoke(`--config=${file}`, '--proxy-mode=iptables', '--masquerade-all');
    expect(config).toMatchObject({
      mode: 'nftables',
      nftables: { masqueradeAll: false },
      hostnameOverride: 'from-file',
    });
    expect(ignored).toEqual(['--proxy-mode', '--masquerade-all']);
  });

  test("but for the node's name and for logging", async () => {
    const { config, ignored } = await invoke(
      '--config',
      file,
      '--hostname-override=other',
      '-v=5',
      '--master=https://a',
    );
    expect(config.hostnameOverride).toBe('other');
    expect(config.logging).toMatchObject({ verbosity: 5, format: 'json' });
    expect(ignored).toEqual([]);
  });

  test('a file that is not there', async () => {
    await expect(invoke('--config=/nowhere/config.conf')).rejects.toThrow(
      /cannot read the configuration \/nowhere\/config\.conf: ENOENT/,
    );
  });
});

describe('bad flags', () => {
  test.each([
    [['--prox-mode=iptables'], "unknown option '--prox-mode=iptables'"],
    [['extra'], 'too many arguments'],
    [['--config'], 'argument missing'],
    [
      ['--masquerade-all=maybe'],
      "'--masquerade-all [bool]' argument 'maybe' is invalid. It must be true or false.",
    ],
    [['--conntrack-min=many'], 'It must be a whole number'],
    [['--conntrack-min=1.5'], 'It must be a whole number'],
    [['--iptables-sync-period=30'], 'It must be a duration, like 30s'],
    [['--healthz-bind-address=localhost'], 'It must be an address and port, like 0.0.0.0:10256'],
    [['--metrics-bind-address=1.2.3.4:99999'], 'It must be an address and port, like 127.0.0.1:10249'],
    [['--feature-gates=A'], 'It must be Name=true or Name=false'],
    [['--kube-api-qps=fast'], 'It must be a number'],
    [['--v=loud'], 'It must be a whole number'],
  ])('%j: %s', (words, message) => {
    expect(() => flags(...words)).toThrow(message);
  });

  test.each([
    [['--proxy-mode=ebpf'], '--proxy-mode: "ebpf" is not one of userspace, iptables, ipvs, nftables'],
    [['--bind-address=node'], '--bind-address: "node" is not an IP address'],
    [['--cluster-cidr=10.0.0.0'], '--cluster-cidr: "10.0.0.0" is not a network'],
    [['--nodeport-addresses=primary,10.0.0.0/8'], '--nodeport-addresses: "primary" must stand alone'],
    [['--iptables-masquerade-bit=40'], '--iptables-masquerade-bit: must be a whole number from 0 to 31'],
    [['--oom-score-adj=2000'], '--oom-score-adj: must be a whole number from -1000 to 1000'],
    [['--detect-local-mode=Nowhere'], '--detect-local-mode: "Nowhere" is not one of'],
    [['--detect-local-mode=BridgeInterface'], '--pod-bridge-interface: must name the bridge'],
    [['--ipvs-scheduler=x'], '--ipvs-scheduler: "x" is not one of rr'],
    [['--ipvs-exclude-cidrs=a'], '--ipvs-exclude-cidrs: "a" is not a network'],
    [
      ['--iptables-sync-period=1s', '--iptables-min-sync-period=5s'],
      '--iptables-sync-period: "1s" must be at least',
    ],
    [['--hostname-override= '], '--hostname-override: must not be blank'],
    [['--healthz-port=70000'], '--healthz-port: must be a port from 1 to 65535'],
    [
      ['--conntrack-tcp-timeout-established=-1s'],
      '--conntrack-tcp-timeout-established: "-1s" must not be negative',
    ],
  ])('%j: %s', async (words, message) => {
    await expect(invoke(...words)).rejects.toThrow(
      expect.objectContaining({ code: 'INVALID_FLAG', message: expect.stringContaining(message) as unknown }),
    );
  });
});
