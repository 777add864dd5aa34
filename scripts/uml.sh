#!/usr/bin/env bash
# Runs a command as root in user-mode-linux: a Linux 6.1 of its own, as an ordinary process, with this machine's file
# system as its root. It has what the machine's own kernel may lack: IPVS, dummy, ipip, SCTP. One processor; boots in
# about two seconds. Standard input is not passed on; output, error output and the exit code are the command's.
#
#   scripts/uml.sh [--memory 1G] [--timeout SECONDS] [--share FOLDER]... [--env NAME]... [--modules 'a b'] -- COMMAND...
#
# In there: the working directory is the same; all files can be read, and nothing is written to the machine's: /tmp,
# /run, /var, /root, /dev/shm and vitest's own folders are empty and in memory. --share FOLDER is the machine's own and
# writable. --env passes a variable on (PATH, HOME, LANG, CI and NODE_OPTIONS are always). Modules load by modprobe and
# on demand. Network: a loopback, and what the command makes. FLATNET_UML=1 tells that one is inside.
# Exit code 124: the time (300 s when not told) was up; 125: it did not boot or run to its end, the boot's messages are
# on standard error. Nothing stays behind, however it ends; any number may run at once.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

fail() { printf 'uml: %s\n' "$*" >&2; exit 125; }
quote() { printf '%q ' "$@"; printf '\n'; }

memory=1G timeout=300 modules='' shares=() variables=(PATH HOME LANG CI NODE_OPTIONS)
while [ $# -gt 0 ]; do
  case $1 in
    --memory) memory=$2; shift 2 ;;
    --timeout) timeout=$2; shift 2 ;;
    --modules) modules=$2; shift 2 ;;
    --share) shares+=("$(realpath "$2")") || exit 125; shift 2 ;;
    --env) variables+=("$2"); shift 2 ;;
    --) shift; break ;;
    *) fail "unknown option $1; see the head of scripts/uml.sh" ;;
  esac
done
[ $# -gt 0 ] || fail 'no command; see the head of scripts/uml.sh'
kernel=$(command -v linux.uml) || fail 'linux.uml is missing; install the package user-mode-linux'

# Where vitest writes; they have to be there for memory to be mounted on them.
mkdir -p "$root"/node_modules/.vite "$root"/node_modules/.vite-temp
job=$(mktemp -d "${TMPDIR:-/tmp}/flatnet-uml.XXXXXX")
trap 'rm -rf "$job"' EXIT
{
  for name in "${variables[@]}"; do [ -z "${!name+set}" ] || quote export "$name=${!name}"; done
  quote export FLATNET_UML=1
  quote modules "$modules"
  for share in ${shares[@]+"${shares[@]}"}; do quote share "$share"; done
  quote cd "$PWD"
  quote command "$@"
} >"$job/job"

# A PID namespace of its own: whatever the kernel process started goes with it. `timeout` ends unshare, whose end is
# the kernel's. The descriptors 3 and 4 are the command's output; the kernel's own messages go into a file.
exec 3>&1 4>&2
{
  timeout --signal=KILL "$timeout" unshare --pid --fork --kill-child=KILL \
    "$kernel" rootfstype=hostfs rootflags=/ ro "mem=$memory" "init=$root/test/uml/init.sh" "uml_dir=$job/" \
    con=null con1=null,fd:3 con2=null,fd:4 "flatnet_job=$job" "flatnet_root=$root" loglevel=4 panic=1 \
    >"$job/boot" 2>&1 </dev/null
  code=$?
} 2>/dev/null
[ "$code" != 137 ] || { printf 'uml: ended after %s s\n' "$timeout" >&2; exit 124; }
[ -s "$job/exit" ] || { tail -n 40 "$job/boot" >&2; fail "the kernel ended (code $code) before the command did"; }
exit "$(cat "$job/exit")"
