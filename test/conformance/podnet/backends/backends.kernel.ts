import { afterAll } from 'vitest';
import { removeBuild } from '../small-cluster.ts';
import { subject } from './subject.ts';
import { describeBackend } from './suite.ts';

afterAll(removeBuild);

const NAMES = ['vxlan', 'vxlan-direct', 'host-gw', 'alloc', 'udp'] as const;
for (const name of NAMES) describeBackend(subject(name));
