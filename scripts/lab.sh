#!/usr/bin/env bash
# `npm run lab`: sets the machine up, brings a cluster up, deploys the sample application, says what to try.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh lab
node dist/flatnet.js lab up "$@"
exec node dist/flatnet.js lab sample
