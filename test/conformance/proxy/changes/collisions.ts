import { expect } from 'vitest';
import type { Story } from './scene.ts';

/** Two Services that claim the same: the first has it, the other gets it when it is free. */
export const COLLISION_STORIES: readonly Story[] = [
  {
    name: 'one node port for two Services',
    async tell(scene) {
      const { cluster } = scene;
      const first = scene.service({ type: 'NodePort', endpoints: ['pod'] });
      const nodePort = scene.address(first, 'node-port').port;
      const second = scene.service(
        { type: 'NodePort', ports: [{ port: 80, nodePort }], endpoints: ['other-pod'] },
        1,
      );
      await cluster.set(first);
      await cluster.set(second);
      expect(await scene.everybody('outside', first, 'node-port')).toEqual(['pod']);
      expect(await scene.answer('node', second, 'cluster-ip')).toBe('other-pod');
      // Also after changes of both.
      await cluster.set({ ...second, endpoints: ['remote-pod'] });
      await cluster.set({ ...first, endpoints: ['pod', 'other-pod'] });
      expect(await scene.everybody('outside', first, 'node-port')).toEqual(['other-pod', 'pod']);
      await cluster.delete(first);
      expect(await scene.everybody('outside', first, 'node-port')).toEqual(['remote-pod']);
      await cluster.delete(second);
      expect(await scene.answer('outside', first, 'node-port')).toBe('rejected');
    },
  },
  {
    name: 'one external address for two Services, on one port and on two',
    async tell(scene) {
      const { cluster } = scene;
      const first = scene.service({ externalIps: true, endpoints: ['pod'] });
      const { host } = scene.address(first, 'external-ip');
      const second = scene.service(
        {
          ports: [
            { name: 'same', port: 80 },
            { name: 'own', port: 81 },
          ],
          endpoints: ['other-pod'],
          spoilService: ({ spec }) => {
            if (spec) spec.externalIPs = [host];
          },
        },
        1,
      );
      await cluster.set(first);
      await cluster.set(second);
      expect(await scene.answer('outside', first, 'external-ip')).toBe('pod');
      expect(await scene.answer('outside', first, 'external-ip', { port: 81 })).toBe('other-pod');
      await cluster.set({ ...first, externalIps: false });
      expect(await scene.answer('outside', first, 'external-ip')).toBe('other-pod');
      expect(await scene.answer('outside', first, 'cluster-ip')).toBe('pod');
    },
  },
  {
    name: 'one ClusterIP for two Services, as when one follows the other',
    async tell(scene) {
      const { cluster } = scene;
      const first = scene.service({ endpoints: ['pod'] });
      const second = { ...first, name: `${first.name}-next`, endpoints: ['other-pod'] as const };
      await cluster.set(first);
      await cluster.set(second);
      expect(await scene.answer('node', first, 'cluster-ip')).toBe('pod');
      await cluster.delete(first);
      expect(await scene.answer('node', first, 'cluster-ip')).toBe('other-pod');
    },
  },
];
