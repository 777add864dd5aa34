import { FakeIpset } from '../../../src/kernel/ipset/fake.ts';
import { FakeIptables } from '../../../src/kernel/iptables/fake.ts';
import { FakeIpvs } from '../../../src/kernel/ipvs/fake.ts';
import { realServerText, serverText, type IpvsKernel } from '../../../src/kernel/ipvs/objects.ts';
import { FakeRouteKernel } from '../../../src/kernel/netlink/fake.ts';
import { Ip } from '../../../src/net/ip.ts';
import { IpvsBackend } from '../../../src/proxy/backends/ipvs/backend.ts';
import type { IpvsModeKernels } from '../../../src/proxy/backends/ipvs/kernels.ts';
import { FakeNodeState } from '../../../src/proxy/backends/ipvs/node-state.ts';
import { readAddresses } from '../../../src/proxy/backends/ipvs/observation.ts';
import { IpvsTracer } from '../../../src/proxy/backends/ipvs/tracer.ts';
import type { ProxySettings } from '../../../src/proxy/settings.ts';
import type { RandomMode, Subject } from './random-suite.ts';
import type { SlowMode } from './slow-model.ts';
import { nodeAddresses } from './topology.ts';

export const IPVS_RULES: SlowMode = {
  unusedPort: 'reject',
  unallocated: 'pass',
  hairpin: 'here',
  deniedWithoutEndpoints: 'drop',
  externalWithoutEndpointsFromNode: 'reject',
  refusesEverywhere: false,
  loopback: false,
  proxied: false,
  protocols: ['TCP', 'UDP', 'SCTP'],
  oneListForAll: true,
  holdsAddresses: true,
};

export const FAKE_IPVS: RandomMode = {
  name: 'ipvs',
  rules: IPVS_RULES,
  async open(settings) {
    const ipvs = new FakeIpvs();
    const ipset = new FakeIpset();
    const route = new FakeRouteKernel();
    const link = route.addLink({ kind: 'dummy', name: 'eth0' })?.index ?? 0;
    for (const family of [4, 6] as const) {
      for (const address of nodeAddresses(family)) {
        const prefixLength = family === 4 ? 24 : 64;
        route.addAddress({ link, ip: Ip.parse(address), prefixLength, noDad: true });
      }
    }
    const iptables = settings.families.map((family) => new FakeIptables(family));
    const node = new FakeNodeState();
    const kernels: IpvsModeKernels = { openIpvs: () => ipvs, ipset, route, iptables, node };
    return Promise.resolve(ipvsSubject(settings, kernels, ipvs));
  },
};

/** `ipvs`: through which the kernel is looked at. */
export function ipvsSubject(settings: ProxySettings, kernels: IpvsModeKernels, ipvs: IpvsKernel): Subject {
  const { ipset, route } = kernels;
  const backend = new IpvsBackend(kernels, settings);
  return {
    backend,
    observe: async () =>
      Promise.resolve([
        ...ipvs
          .virtualServers()
          .flatMap((server) => [
            JSON.stringify(server),
            ...ipvs
              .realServers(server)
              .map((real) => `${serverText(server)} ${realServerText(real)} ${real.weight}`),
          ]),
        ...ipset.sets().flatMap(({ name }) => ipset.entries(name).map((entry) => `${name} ${entry}`)),
        ...([4, 6] as const).flatMap((family) => [...readAddresses(route, family).services]),
      ]),
    tracer: async (traced) => Promise.resolve(new IpvsTracer({ ipvs, ipset }, settings, traced)),
    close: async () => await backend.close(),
  };
}
