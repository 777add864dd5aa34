import { expect } from 'vitest';
import type { EndpointName } from '../row.ts';
import type { Story } from './scene.ts';

/**
 * What an address answers that nobody has any more. Refused or not is up to the mode: ipvs keeps it while there are
 * connections (graceful termination).
 */
const NOWHERE = ['rejected', 'dropped'];

/** The Service itself changes. */
export const SERVICE_STORIES: readonly Story[] = [
  {
    name: 'a deleted Service answers nowhere',
    async tell(scene) {
      const { cluster } = scene;
      const service = scene.service({
        type: 'LoadBalancer',
        ingress: 'VIP',
        externalIps: true,
        endpoints: ['pod'],
      });
      const targets = ['cluster-ip', 'node-port', 'external-ip', 'load-balancer-ip'] as const;
      await cluster.set(service);
      for (const to of targets) expect(await scene.answer('outside', service, to)).toBe('pod');
      await cluster.delete(service);
      for (const to of targets) expect(NOWHERE).toContain(await scene.answer('outside', service, to));
    },
  },
  {
    name: 'another port: the old one is refused or goes nowhere, the new one answers',
    async tell(scene) {
      const { cluster } = scene;
      const service = scene.service({ endpoints: ['other-pod'] });
      await cluster.set(service);
      expect(await scene.answer('pod', service, 'cluster-ip')).toBe('other-pod');
      await cluster.set({ ...service, ports: [{ port: 8888 }] });
      expect(await scene.answer('pod', service, 'cluster-ip', { port: 8888 })).toBe('other-pod');
      expect(NOWHERE).toContain(await scene.answer('pod', service, 'cluster-ip'));
    },
  },
  {
    name: 'a port is renamed on both sides',
    async tell(scene) {
      const { cluster } = scene;
      const service = scene.service({ ports: [{ name: 'http', port: 80 }], endpoints: ['other-pod'] });
      await cluster.set(service);
      expect(await scene.answer('pod', service, 'cluster-ip')).toBe('other-pod');
      await cluster.set({ ...service, ports: [{ name: 'web', port: 80 }] });
      expect(await scene.answer('pod', service, 'cluster-ip')).toBe('other-pod');
    },
  },
  {
    name: 'another ClusterIP',
    async tell(scene) {
      const { cluster } = scene;
      const service = scene.service({ endpoints: ['other-pod'] });
      await cluster.set(service);
      const moved = { ...service, number: service.number + 1 };
      await cluster.set(moved);
      expect(await scene.answer('pod', moved, 'cluster-ip')).toBe('other-pod');
      expect(await scene.answer('pod', service, 'cluster-ip')).toBe('dropped');
    },
  },
  {
    name: 'ClusterIP, NodePort, LoadBalancer, and back',
    async tell(scene) {
      const { cluster } = scene;
      const plain = scene.service({ endpoints: ['pod'] });
      const withNodePort = { ...plain, type: 'NodePort' as const };
      const balancer = { ...plain, type: 'LoadBalancer' as const, ingress: 'VIP' as const };
      const reached = async (): Promise<string[]> =>
        await Promise.all([
          scene.answer('outside', balancer, 'cluster-ip'),
          scene.answer('outside', balancer, 'node-port'),
          scene.answer('outside', balancer, 'load-balancer-ip'),
        ]);
      await cluster.set(plain);
      expect(await reached()).toEqual(['pod', 'rejected', 'dropped']);
      await cluster.set(withNodePort);
      expect(await reached()).toEqual(['pod', 'pod', 'dropped']);
      await cluster.set(balancer);
      expect(await reached()).toEqual(['pod', 'pod', 'pod']);
      await cluster.set(plain);
      const [atClusterIp, ...elsewhere] = await reached();
      expect(atClusterIp).toBe('pod');
      for (const answer of elsewhere) expect(NOWHERE).toContain(answer);
    },
  },
  {
    name: 'a Service becomes headless',
    async tell(scene) {
      const { cluster } = scene;
      const service = scene.service({ endpoints: ['other-pod'] });
      await cluster.set(service);
      expect(await scene.answer('pod', service, 'cluster-ip')).toBe('other-pod');
      await cluster.set({ ...service, headless: true });
      expect(NOWHERE).toContain(await scene.answer('pod', service, 'cluster-ip'));
    },
  },
  {
    name: 'another node port',
    async tell(scene) {
      const { cluster } = scene;
      const service = scene.service({ type: 'NodePort', endpoints: ['pod'] });
      await cluster.set(service);
      expect(await scene.answer('outside', service, 'node-port')).toBe('pod');
      const ports = [{ port: 80, nodePort: 31_000 + service.number }];
      await cluster.set({ ...service, ports });
      expect(await scene.answer('outside', { ...service, ports }, 'node-port')).toBe('pod');
      expect(await scene.answer('outside', service, 'node-port')).toBe('rejected');
    },
  },
  {
    name: 'the external policy becomes Local, and Cluster again',
    async tell(scene) {
      const { cluster } = scene;
      const both: readonly EndpointName[] = ['pod', 'remote-pod'];
      const service = scene.service({ type: 'NodePort', endpoints: both });
      await cluster.set(service);
      expect(await scene.everybody('outside', service, 'node-port')).toEqual(both);
      await cluster.set({ ...service, externalLocal: true });
      expect(await scene.everybody('outside', service, 'node-port')).toEqual(['pod']);
      await cluster.set({ ...service, externalLocal: true, endpoints: ['remote-pod'] });
      expect(await scene.answer('outside', service, 'node-port')).toBe('dropped');
      await cluster.set({ ...service, endpoints: ['remote-pod'] });
      expect(await scene.answer('outside', service, 'node-port')).toBe('remote-pod');
    },
  },
  {
    name: 'the internal policy becomes Local, and Cluster again',
    async tell(scene) {
      const { cluster } = scene;
      const both: readonly EndpointName[] = ['pod', 'remote-pod'];
      const service = scene.service({ endpoints: both });
      await cluster.set(service);
      expect(await scene.everybody('node', service, 'cluster-ip')).toEqual(both);
      await cluster.set({ ...service, internalLocal: true });
      expect(await scene.everybody('node', service, 'cluster-ip')).toEqual(['pod']);
      await cluster.set({ ...service, internalLocal: true, endpoints: ['remote-pod'] });
      expect(await scene.answer('node', service, 'cluster-ip')).toBe('dropped');
      await cluster.set(service);
      expect(await scene.everybody('node', service, 'cluster-ip')).toEqual(both);
    },
  },
  {
    name: 'source ranges come, change and go',
    async tell(scene) {
      const { cluster } = scene;
      const service = scene.service({ type: 'LoadBalancer', ingress: 'VIP', endpoints: ['other-pod'] });
      const callers = ['outside', 'pod'] as const;
      const reached = async (): Promise<string[]> =>
        await Promise.all(callers.map(async (from) => scene.answer(from, service, 'load-balancer-ip')));
      await cluster.set(service);
      expect(await reached()).toEqual(['other-pod', 'other-pod']);
      await cluster.set({ ...service, sourceRanges: ['10.250.0.0/24', 'fd00:250::/64'] });
      expect(await reached()).toEqual(['other-pod', 'dropped']);
      await cluster.set({ ...service, sourceRanges: ['10.244.1.0/24', 'fd00:10:244:1::/64'] });
      expect(await reached()).toEqual(['dropped', 'other-pod']);
      await cluster.set(service);
      expect(await reached()).toEqual(['other-pod', 'other-pod']);
    },
  },
];
