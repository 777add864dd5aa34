import { describe } from 'vitest';
import { ipipConformance } from './ipip.ts';
import { twoNamespaces } from './two-namespaces.ts';

describe('Linux with IPIP', () => {
  ipipConformance(twoNamespaces);
});
