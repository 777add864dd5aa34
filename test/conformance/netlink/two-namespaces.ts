import { LinuxRouteKernel } from '../../../src/kernel/netlink/apply.ts';
import { Netns } from '../../../src/kernel/netns/netns.ts';
import type { Subject } from './route-kernel.ts';

/** Two empty namespaces of the machine's own kernel. */
export function twoNamespaces(): Subject {
  const here = Netns.createAnonymous();
  const there = Netns.createAnonymous();
  const kernel = LinuxRouteKernel.open(here.fd);
  const other = LinuxRouteKernel.open(there.fd);
  const close = (): void => {
    for (const open of [kernel, other, here, there]) open.close();
  };
  return { kernel, other, otherNetns: there.fd, close };
}
