import { vi } from 'vitest';

/** Vitest's own second is over soon where a machine has other work; how fast a thing is, a test says itself. */
const PATIENCE_MS = 10_000;

const { waitFor, waitUntil } = vi;

vi.waitFor = async (probe, options) => waitFor(probe, patient(options));
vi.waitUntil = async (probe, options) => waitUntil(probe, patient(options));

type Options = Parameters<typeof waitFor>[1];

function patient(options: Options): Options {
  return typeof options === 'number' ? options : { timeout: PATIENCE_MS, ...options };
}
