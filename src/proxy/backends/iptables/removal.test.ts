import { expect, test } from 'vitest';
import type { ObservedTable, TableName } from '../../../kernel/iptables/objects.ts';
import { parseSave } from '../../../kernel/iptables/save-text.ts';
import { removalOf } from './removal.ts';

/** As the ipvs mode leaves the tables, with what the iptables mode had in them. */
const TABLES = `*nat
:KUBE-SERVICES - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-ABC - [0:0]
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-SERVICES ! -s 10.244.0.0/16 -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-ABC
COMMIT
*filter
:FORWARD ACCEPT [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
COMMIT
*mangle
:KUBE-PROXY-CANARY - [0:0]
COMMIT
`;

function removed(text: string): string[] {
  const saved = parseSave(text);
  const table = (name: TableName): ObservedTable => {
    const chains = saved.get(name) ?? new Map<string, string[]>();
    return { chains: () => chains.keys(), rules: (chain) => chains.get(chain) };
  };
  const observed = { nat: table('nat'), filter: table('filter'), mangle: table('mangle') };
  return removalOf(observed).map(({ operation, table, chain }) => `${operation} ${table} ${chain}`);
}

test('what the ipvs mode uses stays, its forwarding rules too', () => {
  expect(removed(TABLES)).toEqual([
    'delete-at nat KUBE-SERVICES',
    'delete-chain nat KUBE-SVC-ABC',
    'delete-chain filter KUBE-EXTERNAL-SERVICES',
    'delete-chain mangle KUBE-PROXY-CANARY',
  ]);
});

test('without the ipvs mode nothing stays', () => {
  const alone = TABLES.replace(/^.*match-set.*\n/m, '');
  expect(removed(alone)).toContain('delete-chain filter KUBE-FORWARD');
  expect(removed(alone)).toContain('delete-chain nat KUBE-SERVICES');
});
