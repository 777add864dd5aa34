import { expect, test } from 'vitest';
import { bandwidthOf } from './bandwidth.ts';

const pod = (annotations: Record<string, string>) => ({ metadata: { annotations } });

test('annotations of bandwidth become what container runtimes pass to plugins', () => {
  expect(bandwidthOf(pod({}))).toEqual({});
  expect(bandwidthOf(pod({ 'kubernetes.io/ingress-bandwidth': '10M' }))).toEqual({
    bandwidth: { ingressRate: 10_000_000, ingressBurst: 4_294_967_295 },
  });
});

test.each(['ten', '1', '2P', '-5M'])('a rate of %s is an error that names the annotation', (text) => {
  expect(() => bandwidthOf(pod({ 'kubernetes.io/egress-bandwidth': text }))).toThrow(
    `annotation kubernetes.io/egress-bandwidth: "${text}" is not a rate`,
  );
});
