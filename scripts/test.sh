#!/usr/bin/env bash
# `npm test`: everything, as CI runs it. Ends with the line `N passed, N failed, N skipped`.
set -uo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh test || exit 1
bash scripts/check.sh static || { echo '0 passed, 1 failed, 0 skipped'; exit 1; }
# What setup.sh has built: no test has to build it again.
export FLATNET_SMALL_CLUSTER_DIST=$PWD/dist
exec npx vitest run --reporter=default --reporter=./scripts/summary-reporter.mjs "$@"
