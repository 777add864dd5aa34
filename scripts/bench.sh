#!/usr/bin/env bash
# Runs a benchmark from the built code, which is built first when a source is newer: `npm run -s bench -- proxy --help`.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -e dist/bench.js ] || [ -n "$(find src scripts/build.mjs -newer dist/bench.js -type f -print -quit)" ]; then
  node scripts/build.mjs
fi
exec node dist/bench.js "$@"
