import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Cidr } from '../../net/cidr.ts';
import { Ip, type IpFamily } from '../../net/ip.ts';
import { Mac } from '../../net/mac.ts';
import { AllocBackend } from './alloc/alloc.ts';
import { planPeer, type Backend, type LocalNode } from './backend.ts';
import { formatEntry } from './entry.ts';
import { HostGwBackend } from './hostgw/host-gw.ts';
import { IpipBackend } from './ipip/ipip.ts';
import { meet } from './meeting.ts';
import { UdpBackend } from './udp/udp.ts';
import { vxlanSchema } from './vxlan/settings.ts';
import { VxlanBackend } from './vxlan/vxlan.ts';
import { wireguardSchema } from './wireguard/settings.ts';
import { WireguardBackend } from './wireguard/wireguard.ts';

const family = (n: number) => ({
  podCidr: Cidr.parse(`10.244.${n}.0/24`),
  network: Cidr.parse('10.244.0.0/16'),
  ip: Ip.parse(`172.30.0.${n}`),
  vtepMac: Mac.parse('02:00:00:00:00:01'),
});
const here: LocalNode = {
  name: 'node-1',
  underlay: { device: 'eth0', mtu: 1500, onLink: [Cidr.parse('172.30.0.0/24')] },
  families: new Map([[4, family(1)]]),
};
const key = 'A'.repeat(43) + '=';
const backends: readonly Backend[] = [
  new VxlanBackend(vxlanSchema.parse({ Type: 'vxlan' }), '6.1.0'),
  new VxlanBackend(vxlanSchema.parse({ Type: 'vxlan', DirectRouting: true }), '6.1.0'),
  new WireguardBackend(wireguardSchema.parse({ Type: 'wireguard' }), key),
  new WireguardBackend(wireguardSchema.parse({ Type: 'wireguard', Mode: 'auto' }), key),
  new HostGwBackend(),
  new IpipBackend({ type: 'ipip', directRouting: false, underlayMtu: undefined }),
  new AllocBackend(),
  new UdpBackend({ type: 'udp', port: 8285, underlayMtu: undefined }),
];
/** Anything, and what is nearly right. */
const data = fc.oneof(
  fc.jsonValue(),
  fc.record(
    { VNI: fc.jsonValue(), VtepMAC: fc.jsonValue(), PublicKey: fc.jsonValue(), Port: fc.jsonValue() },
    { requiredKeys: [] },
  ),
  fc.record({ PublicKey: fc.constant(key), Port: fc.integer() }),
);

function refusal(action: () => unknown): unknown {
  try {
    action();
    return undefined;
  } catch (error) {
    return error;
  }
}

test('whatever a node publishes as data of its backend is that node’s problem, never an end of planning', () => {
  fc.assert(
    fc.property(fc.constantFrom(...backends), data, data, (backend, v4, v6) => {
      const offer = { type: backend.type, data: new Map<IpFamily, unknown>([[4, v4]]).set(6, v6) };
      const { podCidr, ip: publicIp } = family(2);
      const peer = {
        node: 'node-2',
        offers: [offer] as const,
        families: new Map([[4, { podCidr, publicIp }]]),
      };
      const refused = refusal(() => meet([backend], peer as never));
      expect(refused === undefined || refused instanceof FlatnetError).toBe(true);
      const { entries, problems } = planPeer(backend, here, peer as never, offer);
      entries.forEach(formatEntry);
      for (const { message } of problems) expect(message).toContain('node-2');
    }),
    { numRuns: 300 },
  );
});
