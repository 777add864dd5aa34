import { describe } from 'vitest';
import { LinuxRouteKernel } from '../../../src/kernel/netlink/apply.ts';
import { Netns } from '../../../src/kernel/netns/netns.ts';
import { routeKernelConformance } from './route-kernel.ts';

describe('the Linux kernel', () => {
  routeKernelConformance(() => {
    const here = Netns.createAnonymous();
    const there = Netns.createAnonymous();
    const kernel = LinuxRouteKernel.open(here.fd);
    const other = LinuxRouteKernel.open(there.fd);
    const close = (): void => {
      for (const open of [kernel, other, here, there]) open.close();
    };
    return { kernel, other, otherNetns: there.fd, close };
  });
});
