import { expect } from 'vitest';
import { IPVS_LIMITS } from '../../../../src/proxy/backends/ipvs/limits.ts';
import { sleep } from '../../../../src/timing/backoff.ts';
import type { EndpointName, Target } from '../row.ts';
import type { TestService } from '../objects.ts';
import { OUTSIDE_CLIENTS } from '../topology.ts';
import type { Scene, Story } from './scene.ts';

const ALL: readonly EndpointName[] = ['other-pod', 'pod', 'remote-pod'];

/** Who answers each of the clients. */
async function answersOf(
  scene: Scene,
  service: TestService,
  to: Target,
  clients = OUTSIDE_CLIENTS[scene.family],
): Promise<string[]> {
  return await Promise.all(
    clients.map(async (localAddress) => scene.answer('outside', service, to, { localAddress })),
  );
}

const sticky = (scene: Scene, part: Partial<TestService> = {}): TestService =>
  scene.service({ affinitySeconds: 100, endpoints: ALL, ...part });

/** sessionAffinity ClientIP. */
export const AFFINITY_STORIES: readonly Story[] = [
  {
    name: 'a client stays with its endpoint, TCP',
    async tell(scene) {
      const service = sticky(scene);
      await scene.cluster.set(service);
      for (const from of ['pod', 'outside', 'node'] as const) {
        const first = await scene.answer(from, service, 'cluster-ip');
        expect(ALL).toContain(first);
        expect(await scene.answers(from, service, 'cluster-ip', 30)).toEqual([first]);
      }
    },
  },
  {
    name: 'a client stays with its endpoint, UDP',
    async tell(scene) {
      const service = sticky(scene, { ports: [{ port: 53, protocol: 'UDP' }] });
      await scene.cluster.set(service);
      const first = await scene.answer('outside', service, 'cluster-ip');
      expect(ALL).toContain(first);
      expect(await scene.answers('outside', service, 'cluster-ip', 30)).toEqual([first]);
    },
  },
  {
    name: 'a client stays with its endpoint at node port, external and load balancer address',
    async tell(scene) {
      const service = sticky(scene, { type: 'LoadBalancer', ingress: 'VIP', externalIps: true });
      await scene.cluster.set(service);
      for (const to of ['node-port', 'external-ip', 'load-balancer-ip'] as const) {
        const first = await scene.answer('outside', service, to);
        expect(ALL).toContain(first);
        expect(await scene.answers('outside', service, to, 30)).toEqual([first]);
      }
    },
  },
  {
    // 16 clients keep three endpoints by chance one time in 10^7.
    name: 'a client has the same endpoint at all addresses of a Service',
    except: { ipvs: IPVS_LIMITS['affinity-by-address'] },
    async tell(scene) {
      const service = sticky(scene, { type: 'LoadBalancer', ingress: 'VIP', externalIps: true });
      await scene.cluster.set(service);
      const first = await answersOf(scene, service, 'cluster-ip');
      for (const to of ['node-port', 'external-ip', 'load-balancer-ip'] as const) {
        expect(await answersOf(scene, service, to)).toEqual(first);
      }
    },
  },
  {
    name: 'a client stays with its endpoint under the policy Local',
    async tell(scene) {
      const service = sticky(scene, {
        type: 'NodePort',
        externalLocal: true,
        endpoints: ['pod', 'other-pod', 'remote-pod'],
      });
      await scene.cluster.set(service);
      const first = await scene.answer('outside', service, 'node-port');
      expect(['pod', 'other-pod']).toContain(first);
      expect(await scene.answers('outside', service, 'node-port', 30)).toEqual([first]);
    },
  },
  {
    // 16 clients meet the same of three endpoints one time in 10^7.
    name: 'each client by itself: not all have the same endpoint',
    async tell(scene) {
      const service = sticky(scene);
      await scene.cluster.set(service);
      const first = await answersOf(scene, service, 'cluster-ip');
      expect(new Set(first).size).toBeGreaterThan(1);
      for (let round = 0; round < 3; round += 1) {
        expect(await answersOf(scene, service, 'cluster-ip')).toEqual(first);
      }
    },
  },
  {
    name: 'when its endpoint goes a client gets another one, and stays with that; the others keep theirs',
    async tell(scene) {
      const service = sticky(scene);
      await scene.cluster.set(service);
      const before = await answersOf(scene, service, 'cluster-ip');
      const gone = before[0] ?? '';
      await scene.cluster.set({ ...service, endpoints: ALL.filter((name) => name !== gone) });
      const after = await answersOf(scene, service, 'cluster-ip');
      expect(after).not.toContain(gone);
      for (const [index, name] of before.entries()) if (name !== gone) expect(after[index]).toBe(name);
      expect(await answersOf(scene, service, 'cluster-ip')).toEqual(after);
    },
  },
  {
    name: 'one more endpoint moves nobody',
    async tell(scene) {
      const service = sticky(scene, { endpoints: ['pod', 'other-pod'] });
      await scene.cluster.set(service);
      const before = await answersOf(scene, service, 'cluster-ip');
      await scene.cluster.set({ ...service, endpoints: ALL });
      expect(await answersOf(scene, service, 'cluster-ip')).toEqual(before);
    },
  },
  {
    // All 16 get the endpoint again that they had one time in 10^7.
    name: 'a client that was silent for longer than the timeout is free again',
    except: { ipvs: IPVS_LIMITS['affinity-renewed'] },
    async tell(scene) {
      const service = sticky(scene, { affinitySeconds: 1 });
      await scene.cluster.set(service);
      const before = await answersOf(scene, service, 'cluster-ip');
      // Nothing tells that a second has passed but the clock.
      await sleep(2500);
      expect(await answersOf(scene, service, 'cluster-ip')).not.toEqual(before);
    },
  },
  {
    name: 'a client that calls again before the timeout stays for another one',
    quiet: true,
    async tell(scene) {
      const service = sticky(scene, { affinitySeconds: 2 });
      await scene.cluster.set(service);
      const before = await answersOf(scene, service, 'cluster-ip');
      for (let round = 0; round < 3; round += 1) {
        await sleep(1000);
        expect(await answersOf(scene, service, 'cluster-ip')).toEqual(before);
      }
    },
  },
  {
    name: 'affinity is switched on and off',
    async tell(scene) {
      const { cluster } = scene;
      const service = scene.service({ endpoints: ALL });
      await cluster.set(service);
      expect(await scene.everybody('outside', service, 'cluster-ip')).toEqual(ALL);
      await cluster.set({ ...service, affinitySeconds: 100 });
      const first = await scene.answer('outside', service, 'cluster-ip');
      expect(await scene.answers('outside', service, 'cluster-ip', 30)).toEqual([first]);
      await cluster.set(service);
      expect(await scene.everybody('outside', service, 'cluster-ip')).toEqual(ALL);
    },
  },
];
