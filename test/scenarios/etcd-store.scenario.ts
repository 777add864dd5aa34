import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { PodnetStatus } from '../../src/agent/podnet-status.ts';
import { run } from '../../src/kernel/exec/run.ts';
import { FLATNET } from './lab-fixture.ts';

const FABRIC = 'fnt-etcd-f';
const POD = 'fnt-etcd-pod';
const ETCD = '172.30.0.1:2379';
const PREFIX = '/coreos.com/network';

/** `flatnet agent` in a network namespace of its own, without a Kubernetes API, as flanneld beside etcd. */
class Machine {
  readonly namespace: string;
  readonly #folder: string;
  readonly #address: string;
  #agent: ChildProcess | undefined;

  constructor(folder: string, number: number) {
    this.namespace = `fnt-etcd-${number}`;
    this.#folder = join(folder, String(number));
    this.#address = `172.30.0.${10 + number}/24`;
  }

  async plugIn(): Promise<void> {
    const port = this.namespace.replace('fnt-etcd-', 'port');
    await run('ip', ['netns', 'add', this.namespace]);
    await run('ip', [
      '-n',
      FABRIC,
      'link',
      'add',
      port,
      'type',
      'veth',
      'peer',
      'eth0',
      'netns',
      this.namespace,
    ]);
    await run('ip', ['-n', FABRIC, 'link', 'set', port, 'up', 'master', 'br0']);
    await run('ip', ['-n', this.namespace, 'address', 'add', this.#address, 'dev', 'eth0']);
    for (const device of ['lo', 'eth0']) await run('ip', ['-n', this.namespace, 'link', 'set', device, 'up']);
    await run('ip', ['-n', this.namespace, 'route', 'add', 'default', 'via', '172.30.0.1']);
    for (const part of ['cni', 'bin']) await mkdir(join(this.#folder, part), { recursive: true });
    const file = {
      apiVersion: 'flatnet.dev/v1alpha1',
      kind: 'AgentConfiguration',
      store: { etcd: { endpoints: [`http://${ETCD}`] } },
      subnetFile: join(this.#folder, 'subnet.env'),
      cni: {
        confDir: join(this.#folder, 'cni'),
        binDir: join(this.#folder, 'bin'),
        dataDir: join(this.#folder, 'data'),
        socketPath: join(this.#folder, 'cni.sock'),
      },
      proxy: { enabled: false },
    };
    await writeFile(join(this.#folder, 'agent.yaml'), JSON.stringify(file));
  }

  start(): void {
    const log = openSync(join(this.#folder, 'log'), 'a');
    const agent = ['agent', '--config', join(this.#folder, 'agent.yaml'), '--node-name', this.namespace];
    const args = ['netns', 'exec', this.namespace, process.execPath, FLATNET, ...agent];
    this.#agent = spawn('ip', args, { stdio: ['ignore', log, log] });
  }

  async kill(): Promise<void> {
    const agent = this.#agent;
    this.#agent = undefined;
    if (agent === undefined || agent.exitCode !== null) return;
    const ended = once(agent, 'exit');
    // `ip netns exec` becomes the program that it starts.
    agent.kill('SIGKILL');
    await ended;
  }

  async log(): Promise<string> {
    return readFile(join(this.#folder, 'log'), 'utf8').catch(() => '');
  }

  /** The first address of the node's subnet; empty while there is none. */
  async subnet(): Promise<string> {
    const text = await readFile(join(this.#folder, 'subnet.env'), 'utf8').catch(() => '');
    return /^FLANNEL_SUBNET=(.*)\/24$/m.exec(text)?.[1] ?? '';
  }

  /** As a container runtime calls the plugin, for a pod in this namespace. */
  async plugin(command: string, pod: string): Promise<string> {
    const [socketPath, plugin] = [join(this.#folder, 'cni.sock'), join(this.#folder, 'bin', 'flatnet')];
    const input = JSON.stringify({ cniVersion: '1.1.0', name: 'cbr0', type: 'flatnet', socketPath });
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: pod,
      CNI_NETNS: `/var/run/netns/${pod}`,
      CNI_IFNAME: 'eth0',
      CNI_PATH: join(this.#folder, 'bin'),
    };
    return run(plugin, [], { input, env }).then(({ stdout }) => stdout || 'done', String);
  }

  async status(): Promise<PodnetStatus | undefined> {
    const url = 'http://127.0.0.1:10256/status';
    const args = ['netns', 'exec', this.namespace, 'curl', '-s', '--max-time', '5', url];
    return run('ip', args).then(
      ({ stdout }) => JSON.parse(stdout) as PodnetStatus,
      () => undefined,
    );
  }

  async ping(address: string): Promise<boolean> {
    const args = ['netns', 'exec', this.namespace, 'ping', '-c1', '-W1', address];
    return run('ip', args).then(
      () => true,
      () => false,
    );
  }
}

let folder: string;
let etcd: ChildProcess | undefined;
const machines: Machine[] = [];

function startEtcd(): void {
  const urls = [`--listen-client-urls=http://${ETCD}`, `--advertise-client-urls=http://${ETCD}`];
  const options = [`--data-dir=${join(folder, 'etcd')}`, '--listen-peer-urls=http://127.0.0.1:2380', ...urls];
  etcd = spawn('ip', ['netns', 'exec', FABRIC, 'etcd', ...options], { stdio: 'ignore' });
}

async function stopEtcd(): Promise<void> {
  if (etcd === undefined) return;
  const ended = once(etcd, 'exit');
  etcd.kill('SIGKILL');
  await ended;
  etcd = undefined;
}

async function etcdctl(...args: string[]): Promise<string> {
  const env = { ...process.env, ETCDCTL_API: '3' };
  const command = ['netns', 'exec', FABRIC, 'etcdctl', `--endpoints=http://${ETCD}`, ...args];
  return (await run('ip', command, { env })).stdout.trim();
}

const until = <T>(read: () => T): ReturnType<typeof expect.poll<T>> => expect.poll(read, { timeout: 40_000 });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fnt-etcd-store-'));
  await run('ip', ['netns', 'add', FABRIC]);
  for (const args of [
    'link set lo up',
    'link add br0 type bridge',
    'address add 172.30.0.1/24 dev br0',
    'link set br0 up',
  ])
    await run('ip', ['-n', FABRIC, ...args.split(' ')]);
  startEtcd();
  machines.push(new Machine(folder, 1), new Machine(folder, 2));
  for (const machine of machines) await machine.plugIn();
});

afterAll(async () => {
  for (const machine of machines) await machine.kill();
  await stopEtcd();
  for (const name of [...machines.map(({ namespace }) => namespace), FABRIC, POD])
    await run('ip', ['netns', 'delete', name]).catch(() => undefined);
  await rm(folder, { recursive: true, force: true });
});

test("two agents and an etcd: flannel's guide works, and outlives etcd and agents", async () => {
  const [a, b] = machines as [Machine, Machine];
  await until(async () => etcdctl('put', '/ready', 'yes').catch(String)).toBe('OK');
  a.start();
  b.start();
  await until(async () => a.log()).toContain('waiting for the network configuration in etcd');
  const config = '{ "Network": "10.244.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}';
  await etcdctl('put', `${PREFIX}/config`, config);
  await until(async () => [await a.subnet(), await b.subnet()]).toEqual([
    expect.stringMatching(/^10\.244\.\d+\.1$/),
    expect.stringMatching(/^10\.244\.\d+\.1$/),
  ]);
  const [subnetA, subnetB] = [await a.subnet(), await b.subnet()];
  expect(subnetA).not.toBe(subnetB);
  await until(async () => a.ping(subnetB)).toBe(true);
  expect(await b.ping(subnetA)).toBe(true);

  // etcd and an agent are gone: packets do not notice.
  await stopEtcd();
  await b.kill();
  expect([await a.ping(subnetB), await b.ping(subnetA)]).toEqual([true, true]);
  // Nor do pods: an agent that starts meanwhile goes on with what it knew, puts right what is not so, and says so.
  await run('ip', ['-n', b.namespace, 'link', 'set', 'flannel.1', 'mtu', '1300']);
  await run('ip', ['netns', 'add', POD]);
  b.start();
  await until(async () => b.plugin('ADD', POD)).toContain(`"${subnetB.replace(/1$/, '')}`);
  expect(await b.plugin('STATUS', '')).toBe('done');
  await run('ip', ['netns', 'exec', POD, 'ping', '-c1', '-W2', subnetA]);
  await until(async () => (await b.status())?.problems.join()).toContain(
    `etcd has not told this node's subnet since the agent was started: pods are served as before, from ${subnetB.replace(/1$/, '0')}/24`,
  );
  expect(await b.status()).toMatchObject({ podMtu: 1450, storeFailure: expect.stringContaining(ETCD) });
  const device = await run('ip', ['-n', b.namespace, 'link', 'show', 'flannel.1']);
  expect(device.stdout).toContain('mtu 1450');
  startEtcd();
  await until(async () => b.log()).toMatch(/subnet lease of this node found/);
  await until(async () => (await b.status())?.problems).toEqual([]);
  expect(await b.subnet()).toBe(subnetB);
  expect(await b.plugin('DEL', POD)).toBe('done');
  expect([await a.ping(subnetB), await b.ping(subnetA)]).toEqual([true, true]);
  const names = [subnetA, subnetB].map((ip) => `${PREFIX}/subnets/${ip.replace(/1$/, '0')}-24`);
  const keys = (await etcdctl('get', `${PREFIX}/subnets/`, '--prefix', '--keys-only')).split(/\s+/);
  expect(keys).toEqual(names.toSorted());

  // What the administrator changes there, nodes follow.
  await etcdctl('put', `${PREFIX}/config`, config.replace('vxlan', 'host-gw'));
  await until(async () => etcdctl('get', names[0] ?? '')).toContain('"BackendType":"host-gw"');
  expect(await a.ping(subnetB)).toBe(true);
});
