import { subject } from './subject.ts';
import { describeBackend } from './suite.ts';

for (const name of ['ipip', 'ipip-direct'] as const) describeBackend(subject(name));
