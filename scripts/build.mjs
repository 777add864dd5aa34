// Bundles the command into dist/: one ES module per sub-command, so that the agent never loads the lab.
// Small C programs (the CNI plugin, the udp backend's worker, what measures connections) are compiled beside it;
// `node scripts/build.mjs FOLDER` builds elsewhere.
import { build } from 'esbuild';
import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { promisify } from 'node:util';

const outdir = process.argv[2] ?? 'dist';
await rm(outdir, { recursive: true, force: true });
await build({
  entryPoints: { flatnet: 'src/cli/main.ts', bench: 'src/bench/main.ts' },
  outdir,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  sourcemap: 'linked',
  // koffi loads its native half from its own package folder.
  external: ['koffi'],
  banner: {
    js: "#!/usr/bin/env node\nimport { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  logLevel: 'warning',
});

const programs = {
  'flatnet-cni': ['src/cni/plugin/flatnet-cni.c', '-Os'],
  // Reads packets' headers where they lie in its buffers.
  'flatnet-udp': ['src/podnet/backends/udp/worker/flatnet-udp.c', '-O2', '-fno-strict-aliasing'],
  'bench-calls': ['src/bench/proxy/calls/bench-calls.c', '-Os'],
  'bench-traffic': ['src/bench/podnet/traffic/bench-traffic.c', '-Os'],
};
try {
  // Static: the plugin runs in whatever root file system the node has.
  const flags = ['-std=gnu11', '-Wall', '-Wextra', '-Werror', '-static', '-s'];
  for (const [name, [source, ...own]] of Object.entries(programs)) {
    await promisify(execFile)('cc', [...flags, ...own, '-o', `${outdir}/${name}`, source]);
  }
} catch (error) {
  if (error.code !== 'ENOENT') throw error;
  console.warn(
    'no C compiler (cc): the CNI plugin and the udp worker are not built, nodes can start no pods; install gcc and libc6-dev, then build again',
  );
}
