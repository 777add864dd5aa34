import { expect, test } from 'vitest';
import { hasChecksumFault } from './checksum-offload.ts';

test.each([
  ['4.18.0-553.el8.x86_64', true],
  ['4.19.122', true],
  ['4.19.123', false],
  ['5.4.0-150-generic', true],
  ['5.4.41', false],
  ['5.5.19', true],
  ['5.6.13', false],
  ['5.7.0', false],
  ['5.10.0-28-amd64', false],
  ['6.18', false],
  ['10.0.1', false],
  ['unknown', true],
])('kernel %s: the fault is there: %s', (release, fault) => {
  expect(hasChecksumFault(release)).toBe(fault);
});
