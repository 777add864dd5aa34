import { FakeRouteKernel } from '../src/kernel/netlink/fake.ts';
import { Ip } from '../src/net/ip.ts';
import {
  COMMON_BACKENDS,
  describePodNetwork,
  IPIP_BACKENDS,
} from './conformance/podnet/pod-network-suite.ts';

describePodNetwork('the fake kernel', [...COMMON_BACKENDS, ...IPIP_BACKENDS], () => {
  const kernel = new FakeRouteKernel();
  const link = kernel.addLink({ kind: 'dummy', name: 'eth0', mtu: 1500, up: true })?.index ?? 0;
  kernel.addAddress({ link, ip: Ip.parse('172.30.0.1'), prefixLength: 24 });
  kernel.addAddress({ link, ip: Ip.parse('fd00:30::1'), prefixLength: 64, noDad: true });
  return { kernel, dispose: () => kernel.close() };
});
