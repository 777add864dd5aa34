import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { NetworkConfig } from '../podnet/network-config.ts';
import type { ProxyConfig } from '../proxy/config/proxy-config.ts';
import { followConfig } from './config-follower.ts';
import { loadConfig, parseConfig } from './config.ts';

const HEAD =
  'apiVersion: flatnet.dev/v1alpha1\nkind: AgentConfiguration\nnetwork: {Network: 10.244.0.0/16}\n';

let folder = '';
let path = '';
let stop: AbortController;
let following: Promise<void>;
let taken: string[];
let refused: Set<string>;
let log: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fnt-agent-config-'));
  path = join(folder, 'agent.yaml');
  stop = new AbortController();
  taken = [];
  refused = new Set();
  log = '';
  writeFileSync(path, HEAD);
  const take = async ({ mode }: ProxyConfig): Promise<void> => {
    if (refused.delete(mode)) throw new Error(`no ${mode} here`);
    taken.push(mode);
    return Promise.resolve();
  };
  const logger = pino({}, { write: (line: string) => (log += line) });
  const takeNetwork = async ({ backend }: NetworkConfig): Promise<void> => {
    if (refused.delete(backend.type)) throw new Error(`no ${backend.type} here`);
    taken.push(`${backend.type} ${backend.underlayMtu ?? 'auto'}`);
    return Promise.resolve();
  };
  following = followConfig(
    {
      paths: [path],
      config: parseConfig(HEAD, path),
      load: async () => loadConfig(path),
      takeProxy: take,
      takeNetwork,
      logger,
    },
    stop.signal,
  );
});

afterEach(async () => {
  stop.abort();
  await following;
  rmSync(folder, { recursive: true });
});

const logged = async (text: string): Promise<boolean> =>
  vi.waitUntil(() => log.includes(text), { timeout: 3000 });
const takenAre = async (...modes: string[]): Promise<boolean> =>
  vi.waitUntil(() => String(taken) === String(modes), { timeout: 3000 });

test('a changed mode is taken, the same file again is not', async () => {
  writeFileSync(path, `${HEAD}proxy: {mode: iptables}\n`);
  expect(await takenAre('iptables')).toBe(true);
  writeFileSync(path, `${HEAD}proxy: {mode: iptables}\n# a remark\n`);
  writeFileSync(path, `${HEAD}proxy: {mode: userspace}\n`);
  expect(await takenAre('iptables', 'userspace')).toBe(true);
});

test('what is wrong, or cannot be had, is told and changes nothing; the next one is taken', async () => {
  writeFileSync(path, `${HEAD}proxy: {mode: ebpf}\n`);
  expect(await logged('proxy.mode: \\"ebpf\\" is not one of')).toBe(true);
  refused.add('ipvs');
  writeFileSync(path, `${HEAD}proxy: {mode: ipvs}\n`);
  expect(await logged('the one before stays: no ipvs here')).toBe(true);
  expect(taken).toEqual([]);
  writeFileSync(path, `${HEAD}proxy: {mode: iptables}\n`);
  expect(await takenAre('iptables')).toBe(true);
});

test('what needs a start of the agent is told by field', async () => {
  writeFileSync(path, `${HEAD}ipMasq: false\nproxy: {enabled: false}\n`);
  expect(await logged('ipMasq, proxy.enabled')).toBe(true);
});

const withBackend = (backend: string) => HEAD.replace('0/16}', `0/16, Backend: ${backend}}`);

test('another backend is taken, one that is refused is told and can be withdrawn', async () => {
  writeFileSync(path, withBackend('{Type: host-gw}'));
  expect(await takenAre('host-gw auto')).toBe(true);
  refused.add('udp');
  writeFileSync(path, withBackend('{Type: udp}'));
  expect(await logged('no udp here')).toBe(true);
  writeFileSync(path, withBackend('{Type: host-gw}'));
  expect(await takenAre('host-gw auto', 'host-gw auto')).toBe(true);
  writeFileSync(path, withBackend('{Type: udp, MTU: 1400}'));
  expect(await takenAre('host-gw auto', 'host-gw auto', 'udp 1400')).toBe(true);
});

test('other ranges of pods need a start, and no backend is changed with them', async () => {
  writeFileSync(path, HEAD.replace('10.244.0.0/16', '10.245.0.0/16, Backend: {Type: host-gw}'));
  expect(await logged('taken only when the agent is started again: network')).toBe(true);
  expect(taken).toEqual([]);
});
