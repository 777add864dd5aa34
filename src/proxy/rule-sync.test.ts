import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLogger } from '../log/logger.ts';
import type { SyncReport } from './backend.ts';
import { FakeBackend } from './fake-backend.ts';
import { RuleSync, type ActiveBackend, type SyncListener } from './rule-sync.ts';
import { ServiceModel } from './services/model.ts';
import { projectService } from './services/service-spec.ts';

/** Writes down what it is told. */
class Listener implements SyncListener {
  readonly told: string[] = [];
  readonly known = new Set<string>();

  began(full: boolean): void {
    if (full) this.known.clear();
  }

  programmed(id: string, port: unknown): void {
    if (port === undefined) this.known.delete(id);
    else this.known.add(id);
  }

  synced({ backend }: ActiveBackend, _: SyncReport, full: boolean): void {
    this.told.push(`${backend.mode} ${full ? 'full' : 'partial'}`);
  }

  failed({ backend }: ActiveBackend, error: unknown): void {
    this.told.push(`${backend.mode} failed: ${String(error)}`);
  }

  repaired({ backend }: ActiveBackend, lines: readonly string[]): void {
    this.told.push(`${backend.mode} repaired ${lines.join(' ')}`);
  }
}

let model: ServiceModel;
let listener: Listener;
let sync: RuleSync;
let control: AbortController;
let ended: Promise<void>;

const active = (backend: FakeBackend, minSyncPeriodMs = 0): ActiveBackend => ({
  backend,
  families: [4],
  minSyncPeriodMs,
});

const idOf = (name: string): string => `shop/${name}:80/TCP/4`;

function setService(name: string, ip = '10.96.0.1'): void {
  const spec = { clusterIPs: [ip], ports: [{ port: 80 }] };
  model.setService(projectService({ metadata: { namespace: 'shop', name }, spec }));
  sync.changed();
}

beforeEach(() => {
  ended = Promise.resolve();
  model = new ServiceModel();
  listener = new Listener();
  const logger = createLogger('test', 'silent');
  sync = new RuleSync({ model, listener, logger, auditIntervalMs: 50 });
  control = new AbortController();
});

afterEach(async () => {
  control.abort();
  await ended;
});

function gate(): { opened: Promise<void>; open: () => void } {
  const control = new AbortController();
  const opened = new Promise<void>((resolve) => {
    control.signal.addEventListener('abort', () => resolve());
  });
  return { opened, open: () => control.abort() };
}

async function start(backend: FakeBackend, minSyncPeriodMs = 0): Promise<void> {
  ended = sync.run(active(backend, minSyncPeriodMs), Promise.resolve(), control.signal);
  await vi.waitFor(() => expect(listener.told.length).toBeGreaterThan(0));
}

test('what is known is programmed in one full sync, what comes in one turn in one call', async () => {
  const backend = new FakeBackend('nftables');
  setService('a');
  setService('b');
  await start(backend);
  setService('c');
  setService('a', '10.96.0.9');
  await vi.waitFor(() => expect(listener.told).toEqual(['nftables full', 'nftables partial']));
  expect(backend.calls).toEqual(['prepare', 'rebuild 2', `update ${idOf('c')} ${idOf('a')}`]);
  expect([...listener.known].sort()).toEqual(['a', 'b', 'c'].map(idOf));
});

test('nothing is programmed before the model is complete', async () => {
  const backend = new FakeBackend('nftables');
  const { opened: ready, open: complete } = gate();
  ended = sync.run(active(backend), ready, control.signal);
  setService('a');
  await vi.waitFor(() => expect(backend.calls).toEqual(['prepare']));
  setService('b');
  complete();
  await vi.waitFor(() => expect(backend.calls).toEqual(['prepare', 'rebuild 2']));
});

test('what comes during a call goes into the next one, and no two calls overlap', async () => {
  const backend = new FakeBackend('iptables');
  await start(backend);
  const { opened, open } = gate();
  backend.gate = opened;
  setService('a');
  await new Promise(setImmediate);
  setService('b');
  await new Promise(setImmediate);
  setService('c');
  open();
  await vi.waitFor(() => expect(backend.ports.size).toBe(3));
  expect(backend.calls.slice(2)).toEqual([`update ${idOf('a')}`, `update ${idOf('b')} ${idOf('c')}`]);
});

test('a refused change is mended by a full sync, also with what came meanwhile', async () => {
  const backend = new FakeBackend('nftables');
  await start(backend);
  backend.refusals.push(new Error('busy'), new Error('still busy'));
  setService('a');
  await vi.waitFor(() => expect(listener.told).toContain('nftables failed: Error: busy'));
  setService('b');
  await vi.waitFor(() => expect(backend.ports.size).toBe(2));
  expect(listener.told).toEqual([
    'nftables full',
    'nftables failed: Error: busy',
    'nftables failed: Error: still busy',
    'nftables full',
  ]);
  expect(backend.calls.filter((call) => call === 'prepare')).toHaveLength(3);
});

test('parts that fail are tried again, while changes go on being taken', async () => {
  const backend = new FakeBackend('userspace');
  await start(backend);
  backend.failures.push([{ subject: 'a', message: 'port 30080 is taken' }]);
  setService('a');
  await vi.waitFor(() => expect(listener.told).toHaveLength(2));
  setService('b');
  await vi.waitFor(() => expect(backend.calls).toContain(`update ${idOf('b')}`));
  await vi.waitFor(() => expect(backend.calls).toContain('rebuild 2'), { timeout: 3000 });
});

test.each([
  ['that the kernel tells of', true],
  ['that it tells nothing of', false],
])('rules that somebody else took away %s are put back, and what that were is told', async (_, tell) => {
  const backend = new FakeBackend('nftables');
  setService('a');
  await start(backend);
  backend.steal(idOf('a'), tell);
  await vi.waitFor(() => expect(listener.told).toContain(`nftables repaired ${idOf('a')}`));
  expect(backend.stolen.size).toBe(0);
});

test('a change is programmed also where looking for what others did takes longer than the time between two looks', async () => {
  const backend = new FakeBackend('iptables');
  backend.foreignChange = async () => {
    await new Promise((resolve) => setTimeout(resolve, 80));
    return false;
  };
  await start(backend);
  await new Promise((resolve) => setTimeout(resolve, 60));
  setService('a');
  await vi.waitFor(() => expect(backend.calls).toContain(`update ${idOf('a')}`));
});

test('a least time between two syncs holds back all but the first change', async () => {
  const backend = new FakeBackend('iptables');
  await start(backend, 400);
  await new Promise((resolve) => setTimeout(resolve, 450));
  const began = performance.now();
  setService('a');
  await vi.waitFor(() => expect(backend.ports.size).toBe(1), { interval: 5 });
  const first = performance.now() - began;
  setService('b');
  await new Promise(setImmediate);
  setService('c');
  await vi.waitFor(() => expect(backend.ports.size).toBe(3), { interval: 5 });
  expect(first).toBeLessThan(300);
  expect(performance.now() - began).toBeGreaterThanOrEqual(390);
  expect(backend.calls.slice(2)).toEqual([`update ${idOf('a')}`, `update ${idOf('b')} ${idOf('c')}`]);
});

test('another backend serves everything before the one before goes, and changes go to it alone', async () => {
  const [old, next] = [new FakeBackend('iptables'), new FakeBackend('nftables')];
  setService('a');
  await start(old);
  let servedAtRemoval: string[] = [];
  await sync.replace(active(next), async (backend) => {
    servedAtRemoval = [...next.ports.keys()];
    await backend.remove();
  });
  expect(servedAtRemoval).toEqual([idOf('a')]);
  expect(old.calls).toEqual(['prepare', 'rebuild 1', 'remove']);
  setService('b');
  await vi.waitFor(() => expect(next.ports.size).toBe(2));
  expect(old.ports.size).toBe(0);
});

test('a backend that cannot take over leaves the one before in place, up to date', async () => {
  const [old, next] = [new FakeBackend('iptables'), new FakeBackend('ipvs')];
  setService('a');
  await start(old);
  next.refusals.push(new Error('no ip_vs'));
  setService('b');
  const retire = vi.fn<() => Promise<void>>(async () => Promise.resolve());
  await expect(sync.replace(active(next), retire)).rejects.toThrow('no ip_vs');
  expect(next.calls.at(-1)).toBe('close');
  expect(retire).not.toHaveBeenCalled();
  await vi.waitFor(() => expect([...old.ports.keys()]).toEqual(['a', 'b'].map(idOf)));
});

test('at the end everything stays in the kernel', async () => {
  const backend = new FakeBackend('nftables');
  setService('a');
  await start(backend);
  control.abort();
  await ended;
  expect(backend.calls.at(-1)).toBe('close');
  expect(backend.ports.size).toBe(1);
});

type Step =
  | { readonly do: 'set'; readonly name: string; readonly ip: number }
  | { readonly do: 'delete'; readonly name: string }
  | { readonly do: 'refuse'; readonly times: number }
  | { readonly do: 'steal'; readonly name: string; readonly tell: boolean }
  | { readonly do: 'replace'; readonly fails: boolean }
  | { readonly do: 'turn' };

const name = fc.constantFrom('a', 'b', 'c', 'd');
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant('set' as const), name, ip: fc.integer({ min: 1, max: 9 }) }),
    fc.record({ do: fc.constant('delete' as const), name }),
    fc.record({ do: fc.constant('refuse' as const), times: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ do: fc.constant('steal' as const), name, tell: fc.boolean() }),
    fc.record({ do: fc.constant('replace' as const), fails: fc.boolean() }),
    fc.record({ do: fc.constant('turn' as const) }),
  ),
  { minLength: 5, maxLength: 25 },
);

/** One run of the proxy through all that may happen to it. */
async function live(all: readonly Step[]): Promise<void> {
  const logger = createLogger('test', 'silent');
  const backoff = { initialMs: 1, maxMs: 4 };
  const own = new ServiceModel();
  const told = new Listener();
  const running = new RuleSync({ model: own, listener: told, logger, auditIntervalMs: 10, backoff });
  const end = new AbortController();
  const backends = [new FakeBackend('iptables')];
  const run = running.run(active(backends[0] ?? new FakeBackend('iptables')), Promise.resolve(), end.signal);
  const replaced: Promise<unknown>[] = [];
  for (const step of all) {
    const current = running.active?.backend as FakeBackend | undefined;
    if (step.do === 'turn') await new Promise(setImmediate);
    else if (step.do === 'refuse') {
      current?.refusals.push(...Array.from({ length: step.times }, () => new Error('refused')));
    } else if (step.do === 'steal') current?.steal(idOf(step.name), step.tell);
    else if (step.do === 'replace') {
      const next = new FakeBackend('nftables');
      if (step.fails) next.refusals.push(new Error('cannot'));
      backends.push(next);
      const done = running.replace(active(next), async (old) => old.remove());
      replaced.push(done.catch(() => undefined));
    } else {
      const spec = { clusterIPs: [`10.96.0.${step.do === 'set' ? step.ip : 0}`], ports: [{ port: 80 }] };
      const key = { namespace: 'shop', name: step.name };
      if (step.do === 'set') own.setService(projectService({ metadata: key, spec }));
      else own.deleteService(`shop/${step.name}`);
      running.changed();
    }
  }
  await Promise.all(replaced);
  const wanted = new Map(
    ['a', 'b', 'c', 'd'].flatMap((one) => own.portsOf(`shop/${one}`)).map((p) => [p.id, p]),
  );
  await vi.waitFor(() => {
    const current = running.active?.backend as FakeBackend | undefined;
    expect(current?.ports).toEqual(wanted);
    expect(current?.stolen.size).toBe(0);
    expect(told.known).toEqual(new Set(wanted.keys()));
  }, 5000);
  const others = backends.filter((one) => one !== running.active?.backend);
  expect(others.flatMap(({ ports }) => [...ports.keys()])).toEqual([]);
  end.abort();
  await run;
}

test('whatever is refused, stolen or replaced, in the end the kernel has what the model says', async () => {
  await fc.assert(fc.asyncProperty(steps, live), { numRuns: 60 });
}, 60_000);
