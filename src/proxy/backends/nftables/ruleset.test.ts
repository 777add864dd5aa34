import { expect, test } from 'vitest';
import { Cidr } from '../../../net/cidr.ts';
import { buildRuleset, type RulesetOptions } from './ruleset.ts';
import { proxySets } from './sets.ts';

const OPTIONS: RulesetOptions = {
  family: 4,
  clusterCidrs: [Cidr.parse('10.244.0.0/16'), Cidr.parse('fd00:10:244::/56')],
  serviceCidrs: [Cidr.parse('10.96.0.0/16')],
  masqueradeAll: false,
  masqueradeBit: 14,
};

const build = (
  changed: Partial<RulesetOptions>,
  chains?: readonly string[],
  sets: readonly string[] = [],
): ReturnType<typeof buildRuleset> =>
  buildRuleset(
    { ...OPTIONS, ...changed },
    proxySets(changed.family ?? 4),
    chains === undefined ? undefined : { chains, sets },
  );

test('sources off the cluster are marked for masquerade, by the ranges of the own family', () => {
  expect(build({}).text).toContain(
    'ip daddr @cluster-ips ip saddr != { 10.244.0.0/16 } meta mark set meta mark | 0x00004000',
  );
  expect(build({ family: 6 }).text).toContain(
    'ip6 daddr @cluster-ips ip6 saddr != { fd00:10:244::/56 } meta mark set meta mark | 0x00004000',
  );
});

test('masqueradeAll marks every source; without ranges none is', () => {
  expect(build({ masqueradeAll: true, masqueradeBit: 5 }).text).toContain(
    'services ip daddr @cluster-ips meta mark set meta mark | 0x00000020',
  );
  expect(build({ clusterCidrs: [] }).text).not.toContain('meta mark set meta mark |');
});

const SET_NAMES = [...build({}).text.matchAll(/^add (?:map|set) ip flatnet-proxy (\S+)/gm)].map(
  ([, name]) => name ?? '',
);

test('a set that an older version did not have is added to its table', () => {
  const { text } = build({}, ['services'], SET_NAMES.slice(1));
  expect(text.match(/^add (?:map|set) .*$/gm)).toHaveLength(1);
  expect(text).toContain(`flatnet-proxy ${SET_NAMES[0]} {`);
});

test('rules loaded over others keep the sets and leave one marker', () => {
  const old = build({ masqueradeAll: true }).marker;
  const { marker, text } = build({}, ['services', 'lb-3', old], [...SET_NAMES, '__set0']);
  expect(marker).not.toBe(old);
  expect(text).toContain(`delete chain ip flatnet-proxy ${old}\n`);
  expect(text).toContain(`add chain ip flatnet-proxy ${marker}\n`);
  expect(text).not.toMatch(/add (map|set) /);
  expect(text).not.toContain('lb-3');
});

test('the same options always have the same marker', () => {
  expect(build({}).marker).toBe(build({}, ['services']).marker);
});
