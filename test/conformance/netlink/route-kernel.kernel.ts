import { describe } from 'vitest';
import { routeKernelConformance } from './route-kernel.ts';
import { twoNamespaces } from './two-namespaces.ts';

describe('the Linux kernel', () => {
  routeKernelConformance(twoNamespaces);
});
