import { afterAll, beforeAll, describe } from 'vitest';
import { icmpRows, narrowPathRows } from './icmp-rows.ts';
import { reachRows } from './reach-rows.ts';
import { repairRows } from './repair-rows.ts';
import { Scene } from './scene.ts';
import { SLOWNESS, type Subject } from './subject.ts';

/** What every backend does, seen from pods, nodes and outside, with agents as users have them. */
export function describeBackend(subject: Subject): void {
  describe.each([subject.name])('%s', () => {
    let scene: Scene | undefined;
    const current = (): Scene => {
      if (scene === undefined) throw new Error('the cluster did not start');
      return scene;
    };

    beforeAll(async () => {
      scene = await Scene.start(subject);
    }, 120_000 * SLOWNESS);
    afterAll(async () => scene?.stop());

    reachRows(subject, current);
    if (subject.rows === 'reach') return;
    icmpRows(subject, current);
    narrowPathRows(subject, current);
    repairRows(subject, current);
  });
}
