import { afterAll } from 'vitest';
import { removeBuild } from '../small-cluster.ts';
import { subject } from './subject.ts';
import { describeBackend } from './suite.ts';

afterAll(removeBuild);

// By the kernel's WireGuard where it has it, else by wireguard-go.
for (const name of ['wireguard', 'wireguard-auto'] as const) describeBackend(subject(name));
