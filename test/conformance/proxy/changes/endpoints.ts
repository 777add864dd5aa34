import { expect } from 'vitest';
import type { TestSlice } from '../objects.ts';
import type { EndpointName } from '../row.ts';
import type { Scene, Story } from './scene.ts';

const ALL: readonly EndpointName[] = ['other-pod', 'pod', 'remote-pod'];
const UDP = [{ port: 53, protocol: 'UDP' }] as const;
const TERMINATING = { ready: false, serving: true, terminating: true } as const;

/** A client that keeps sending from one port. */
let nextPort = 20_000;
const ownPort = (): number => (nextPort += 1);

async function udpFollows(scene: Scene, to: 'cluster-ip' | 'node-port'): Promise<void> {
  const { cluster } = scene;
  const localPort = ownPort();
  const type = to === 'node-port' ? ('NodePort' as const) : ('ClusterIP' as const);
  const service = scene.service({ type, ports: UDP, endpoints: ['other-pod'] });
  const from = to === 'node-port' ? 'outside' : 'pod';
  const ask = async (): Promise<string> => await scene.answer(from, service, to, { localPort });
  await cluster.set(service);
  expect(await ask()).toBe('other-pod');
  await cluster.set({ ...service, endpoints: ['remote-pod'] });
  expect(await ask()).toBe('remote-pod');
  await cluster.set({ ...service, endpoints: [] });
  expect(await ask()).toBe('rejected');
  await cluster.set({ ...service, endpoints: ['other-pod'] });
  expect(await ask()).toBe('other-pod');
}

const slice = (pod: EndpointName, port = 8080): TestSlice => ({ endpoints: [{ pod }], ports: [{ port }] });

/** Endpoints come and go. */
export const ENDPOINT_STORIES: readonly Story[] = [
  {
    name: 'scaling is followed by the next connection',
    async tell(scene) {
      const { cluster } = scene;
      const service = scene.service({ endpoints: ALL });
      await cluster.set(service);
      expect(await scene.everybody('pod', service, 'cluster-ip')).toEqual(ALL);
      await cluster.set({ ...service, endpoints: ['other-pod'] });
      expect(await scene.everybody('pod', service, 'cluster-ip')).toEqual(['other-pod']);
      await cluster.set({ ...service, endpoints: ['other-pod', 'remote-pod'] });
      expect(await scene.everybody('pod', service, 'cluster-ip')).toEqual(['other-pod', 'remote-pod']);
    },
  },
  {
    name: 'the last endpoint goes, and comes back: refused in between, at every address',
    async tell(scene) {
      const { cluster } = scene;
      const service = scene.service({
        type: 'LoadBalancer',
        ingress: 'VIP',
        externalIps: true,
        endpoints: ALL,
      });
      const targets = ['cluster-ip', 'node-port', 'external-ip', 'load-balancer-ip'] as const;
      const answer = async (): Promise<string[]> =>
        await Promise.all(targets.map(async (to) => scene.answer('outside', service, to)));
      await cluster.set(service);
      expect((await answer()).filter((name) => !ALL.includes(name as EndpointName))).toEqual([]);
      await cluster.set({ ...service, endpoints: [] });
      expect(await answer()).toEqual(targets.map(() => 'rejected'));
      await cluster.set({ ...service, endpoints: ['pod'] });
      expect(await answer()).toEqual(targets.map(() => 'pod'));
    },
  },
  {
    name: 'the endpoints come after the Service, the slices before it',
    async tell(scene) {
      const { cluster } = scene;
      const service = scene.service({ endpoints: [] });
      await cluster.set(service);
      expect(await scene.answer('pod', service, 'cluster-ip')).toBe('rejected');
      await cluster.set({ ...service, endpoints: ['other-pod'] });
      expect(await scene.answer('pod', service, 'cluster-ip')).toBe('other-pod');
      cluster.model.deleteService(`test/${service.name}`);
      await cluster.flush();
      await cluster.set({ ...service, endpoints: ['other-pod'] });
      expect(await scene.answer('pod', service, 'cluster-ip')).toBe('other-pod');
    },
  },
  {
    name: 'rolling update: ready pods first, those that terminate only when nobody else is left',
    async tell(scene) {
      const { cluster } = scene;
      const service = scene.service({ endpoints: ['pod'] });
      await cluster.set(service);
      expect(await scene.answer('node', service, 'cluster-ip')).toBe('pod');
      await cluster.set({ ...service, endpoints: [{ pod: 'pod', ...TERMINATING }, 'other-pod'] });
      expect(await scene.everybody('node', service, 'cluster-ip')).toEqual(['other-pod']);
      await cluster.set({ ...service, endpoints: [{ pod: 'pod', ...TERMINATING }] });
      expect(await scene.everybody('node', service, 'cluster-ip')).toEqual(['pod']);
      await cluster.set({ ...service, endpoints: [{ pod: 'pod', ready: false, terminating: true }] });
      expect(await scene.answer('node', service, 'cluster-ip')).toBe('rejected');
    },
  },
  {
    name: 'slices come and go one by one',
    async tell(scene) {
      const { cluster } = scene;
      const service = scene.service({ slices: [slice('pod')] });
      await cluster.set(service);
      expect(await scene.everybody('node', service, 'cluster-ip')).toEqual(['pod']);
      await cluster.set({ ...service, slices: [slice('pod'), slice('other-pod'), slice('remote-pod')] });
      expect(await scene.everybody('node', service, 'cluster-ip')).toEqual(ALL);
      await cluster.set({ ...service, slices: [slice('remote-pod')] });
      expect(await scene.everybody('node', service, 'cluster-ip')).toEqual(['remote-pod']);
    },
  },
  {
    name: 'hints come and go',
    async tell(scene) {
      const { cluster } = scene;
      const service = scene.service({ endpoints: ['other-pod', 'remote-pod'] });
      await cluster.set(service);
      expect(await scene.everybody('pod', service, 'cluster-ip')).toEqual(['other-pod', 'remote-pod']);
      await cluster.set({
        ...service,
        endpoints: [
          { pod: 'other-pod', forZones: ['east'] },
          { pod: 'remote-pod', forZones: ['west'] },
        ],
      });
      expect(await scene.everybody('pod', service, 'cluster-ip')).toEqual(['other-pod']);
      await cluster.set(service);
      expect(await scene.everybody('pod', service, 'cluster-ip')).toEqual(['other-pod', 'remote-pod']);
    },
  },
  {
    name: 'a connection outlives its endpoint in the Service, and the Service; new ones are refused',
    async tell(scene) {
      const { cluster } = scene;
      const echo = scene.service({ slices: [slice('pod', 7)] });
      await cluster.set(echo);
      const held = (['other-pod', 'node', 'outside'] as const).map((from) =>
        scene.hold(from, echo, 'cluster-ip'),
      );
      const all = async (): Promise<string[]> => await Promise.all(held.map(async (one) => one.ask()));
      expect(await all()).toEqual(['pod', 'pod', 'pod']);
      await cluster.set({ ...echo, slices: [slice('remote-pod', 7)] });
      expect(await all()).toEqual(['pod', 'pod', 'pod']);
      await cluster.set({ ...echo, slices: [] });
      expect(await all()).toEqual(['pod', 'pod', 'pod']);
      expect(await scene.answer('other-pod', echo, 'cluster-ip')).toBe('rejected');
      await cluster.delete(echo);
      expect(await all()).toEqual(['pod', 'pod', 'pod']);
      for (const one of held) one.close();
    },
  },
  {
    name: 'a UDP client that keeps sending from one port follows at once, at the ClusterIP',
    tell: async (scene) => await udpFollows(scene, 'cluster-ip'),
  },
  {
    name: 'a UDP client that keeps sending from one port follows at once, at the node port',
    tell: async (scene) => await udpFollows(scene, 'node-port'),
  },
  {
    name: 'a UDP client that sent before there was an endpoint reaches the first one at once',
    async tell(scene) {
      const { cluster } = scene;
      const service = scene.service({ type: 'NodePort', ports: UDP, endpoints: ['pod'] });
      const early = (['cluster-ip', 'node-port'] as const).map((to) => {
        const localPort = ownPort();
        return async () => await scene.answer('outside', service, to, { localPort });
      });
      // Nobody's address yet: it goes nowhere, and connection tracking remembers that.
      expect(await Promise.all(early.map(async (ask) => ask()))).toEqual(['dropped', 'rejected']);
      await cluster.set(service);
      expect(await Promise.all(early.map(async (ask) => ask()))).toEqual(['pod', 'pod']);
    },
  },
];
