import { afterAll } from 'vitest';
import { removeBuild } from '../small-cluster.ts';
import { subject } from './subject.ts';
import { describeBackend } from './suite.ts';

afterAll(removeBuild);

for (const name of ['vxlan', 'vxlan-direct', 'host-gw', 'alloc'] as const) describeBackend(subject(name));
