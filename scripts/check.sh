#!/usr/bin/env bash
# What must hold before each commit: types, lint, format, dead code, import directions, fast tests.
set -uo pipefail
cd "$(dirname "$0")/.."
status=0
step() {
  local name=$1 started=$SECONDS
  shift
  if "$@"; then printf 'ok    %s (%ss)\n' "$name" $((SECONDS - started)); else
    printf 'FAIL  %s\n' "$name"
    status=1
  fi
}
step types npx tsc --noEmit
step lint npx oxlint --type-aware --deny-warnings --quiet
step format npx oxfmt --check
step 'dead code' npx knip
[ "${1:-}" = static ] || step 'import directions and fast tests' npx vitest run --project fast --reporter=dot
exit $status
