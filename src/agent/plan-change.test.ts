import type { Node } from 'kubernetes-types/core/v1.js';
import { expect, test } from 'vitest';
import { networkSchema } from '../podnet/network-config.ts';
import { planChange } from './plan-change.ts';

const PREFIX = 'flannel.alpha.coreos.com';

/** A node of vxlan; without a subnet one of flanneld. */
function node(n: number, subnet: string | undefined, ip = `172.30.0.${n}`): Node {
  const about = {
    device: 'eth0',
    reason: '',
    met: true,
    mtu: 1500,
    subnets: [subnet],
    backends: [{ Type: 'vxlan', VNI: 1, Port: 8472 }],
  };
  return {
    metadata: {
      name: `node-${n}`,
      annotations: {
        [`${PREFIX}/kube-subnet-manager`]: 'true',
        [`${PREFIX}/backend-type`]: 'vxlan',
        [`${PREFIX}/backend-data`]: `{"VNI":1,"VtepMAC":"02:00:00:00:00:0${n}"}`,
        [`${PREFIX}/public-ip`]: ip,
        ...(subnet === undefined ? {} : { 'flatnet.dev/node': JSON.stringify(about) }),
      },
    },
    spec: { podCIDR: `10.244.${n}.0/24` },
  };
}

const near = [node(1, '172.30.0.0/24'), node(2, '172.30.0.0/24')];
const plan = (nodes: readonly Node[], Backend: object) =>
  planChange(nodes, networkSchema.parse({ Network: '10.244.0.0/16', Backend }), PREFIX);
const lost = (nodes: readonly Node[], backend: object): string[] =>
  plan(nodes, backend).pairs.flatMap(({ from, to, lost: why }) =>
    why === undefined ? [] : [`${from} ${to}: ${why}`],
  );

test('between nodes of one subnet everything stays, whatever they change to', () => {
  for (const Type of ['host-gw', 'wireguard', 'udp', 'ipip']) expect(lost(near, { Type })).toEqual([]);
  expect(plan(near, { Type: 'vxlan' }).nodes.map(({ change }) => change)).toEqual([
    'has vxlan 1 already',
    'has vxlan 1 already',
  ]);
  expect(plan(near, { Type: 'vxlan', MTU: 1400 }).nodes[0]?.change).toBe('in place');
});

test('host-gw loses the ways over a router, both of them', () => {
  const all = [...near, node(3, '172.31.0.0/24', '172.31.0.3')];
  expect(lost(all, { Type: 'host-gw' }).map((line) => line.slice(0, 13))).toEqual([
    'node-1 node-3',
    'node-2 node-3',
    'node-3 node-1',
    'node-3 node-2',
  ]);
});

test('a node of flanneld loses all others, and devices of one name are refused', () => {
  expect(lost([...near, node(3, undefined)], { Type: 'host-gw' }).join()).toContain(
    'node-1 node-3: node-3 is not run by Flatnet',
  );
  expect(lost(near, { Type: 'vxlan', Port: 4789 }).join()).toContain('they cannot exist side by side');
});
