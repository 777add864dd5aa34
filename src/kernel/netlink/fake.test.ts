import { describe, expect, test } from 'vitest';
import { ipipConformance } from '../../../test/conformance/netlink/ipip.ts';
import { routeKernelConformance, type Subject } from '../../../test/conformance/netlink/route-kernel.ts';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { FakeNetwork, FakeRouteKernel } from './fake.ts';
import type { RouteEvent } from './objects.ts';

function open(): Subject {
  const network = new FakeNetwork();
  return { kernel: network.kernel(3), other: network.kernel(4), otherNetns: 4, close: () => {} };
}

describe('the fake kernel', () => {
  routeKernelConformance(open);
  ipipConformance(open);

  test('fails once where a test wants it to', () => {
    const kernel = new FakeRouteKernel();
    kernel.failNext('links', new FlatnetError('list links: ENOBUFS', { code: 'ENOBUFS' }));
    expect(() => kernel.links()).toThrow('ENOBUFS');
    expect(kernel.links()).toHaveLength(1);
  });

  test('can lose events', () => {
    const kernel = new FakeRouteKernel();
    const seen: RouteEvent[] = [];
    const signal = new AbortController().signal;
    kernel.watch({ groups: ['link'], signal, onEvent: (event) => seen.push(event) });
    kernel.loseEvents();
    expect(seen).toEqual([{ kind: 'resync', reason: 'ENOBUFS' }]);
  });
});
