// Shell text that makes roots. It is constant: everything that varies arrives as positional parameters and is
// never part of the text. busybox runs it, because its mount, mkdir and mknod cost a fork and no exec. The texts
// are written to files of the lab, so that ps shows a file name.

const DEVICES = `
make_devices() {
  mount -t tmpfs -o mode=755,size=64k tmpfs dev
  mkdir dev/pts dev/shm dev/net
  mknod -m 666 dev/null c 1 3
  mknod -m 666 dev/zero c 1 5
  mknod -m 666 dev/full c 1 7
  mknod -m 666 dev/random c 1 8
  mknod -m 666 dev/urandom c 1 9
  mknod -m 666 dev/tty c 5 0
  mknod -m 666 dev/net/tun c 10 200
  ln -s /proc/self/fd dev/fd
  ln -s /proc/self/fd/0 dev/stdin
  ln -s /proc/self/fd/1 dev/stdout
  ln -s /proc/self/fd/2 dev/stderr
  ln -s pts/ptmx dev/ptmx
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
  mount -t tmpfs -o mode=1777,size=64m tmpfs dev/shm
}
`;

/**
 * Root of a node, then its PID 1. Parameters: folder of the node, folder of images, state folder to hide,
 * hostname, Node.js executable, folder of this program, then the host's other mounts to carry in. Says `ready` on
 * standard output.
 *
 * PID 1 is a sleep that ignores SIGCHLD: the kernel then reaps orphans by itself (sigaction(2), SA_NOCLDWAIT).
 */
const NODE_SCRIPT = `set -eu
folder=$1 images=$2 state=$3 hostname=$4 node=$5 package=$6
shift 6
${DEVICES}
cd "$folder"
mkdir -p root data
mkdir -p data/upper data/work data/containers
if ! mount -t overlay -o lowerdir=/,upperdir=data/upper,workdir=data/work overlay root 2>/dev/null; then
  # The file system below refuses to be an upper layer, as another overlay does: memory takes its place.
  mount -t tmpfs -o mode=755 tmpfs data
  mkdir data/upper data/work data/containers
  mount -t overlay -o lowerdir=/,upperdir=data/upper,workdir=data/work overlay root
fi
cd root
rm -rf etc/cni/net.d var/lib/cni var/lib/kubelet var/log/pods
mkdir -p etc/cni/net.d opt/cni/bin var/lib/cni var/lib/kubelet var/log/pods proc sys dev run tmp
for mounted in "$@"; do
  if [ -d "$mounted" ]; then mkdir -p ".$mounted"; fi
  mount --bind "$mounted" ".$mounted"
done
mkdir -p opt/flatnet/package
: >opt/flatnet/node
mount --bind "$node" opt/flatnet/node
mount --bind "$package" opt/flatnet/package
mkdir -p opt/flatnet/bin
printf '#!/bin/sh\\nexec /opt/flatnet/node /opt/flatnet/package/dist/flatnet.js "$@"\\n' >opt/flatnet/bin/flatnet
chmod 755 opt/flatnet/bin/flatnet
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p run/lab/base run/lab/containers run/lab/images run/lock run/netns run/podns
mount --bind / run/lab/base
mount --bind ../data/containers run/lab/containers
# A copy in memory: layers below / itself would overlap with it, which overlayfs refuses.
cp -a "$images/." run/lab/images/
# A character device 0/0 in a layer hides what is below it (overlayfs, "whiteouts").
while read -r hidden; do
  mkdir -p "run/lab/images/common\${hidden%/*}"
  mknod "run/lab/images/common$hidden" c 0 0
done <run/lab/images/hidden
if [ -d ".$state" ]; then mount -t tmpfs -o mode=700 tmpfs ".$state"; fi
cp -a ../seed/. .
mount -t proc proc proc
mount -t sysfs sysfs sys
make_devices
hostname "$hostname"
mkdir -p .old
pivot_root . .old
cd /
umount -l .old
rmdir .old
ip link set lo up
echo ready
exec </dev/null >/dev/null 2>&1
exec /usr/bin/env --ignore-signal=CHLD busybox sleep 2147483647
`;

/** In the new namespaces of a pod. Parameter: the pod's hostname. */
const SANDBOX_SCRIPT = `set -eu
hostname "$1"
ip link set lo up
# What containerd sets too: ping without privileges, and ports below 1024 for everybody.
echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
`;

/** Parameters: files of a sandbox's namespaces. */
const SANDBOX_REMOVE_SCRIPT = `
for file in "$@"; do
  umount -l "$file" 2>/dev/null || :
  rm -f "$file"
done
`;

/**
 * Root of a container, then its program. Parameters: folder of the container, lower layers, read-only root (0, 1),
 * privileged (0, 1), working directory, the program's name and its PATH (to say what is missing), then mounts as
 * triples source, destination, ro|rw up to a \`--\`, then the command line. Descriptor 3 is where what goes wrong
 * is told; \`started\` there means that the program comes next.
 */
const CONTAINER_SCRIPT = `
exec 4>&2 2>&3
set -eu
folder=$1 lower=$2 readonly=$3 privileged=$4 cwd=$5 program=$6 path=$7
shift 7
${DEVICES}
cd "$folder"
# volatile (Linux 5.10): the layer lives no longer than the container, nothing needs to reach the disk.
mount -t overlay -o "lowerdir=$lower,upperdir=upper,workdir=work,volatile" overlay root 2>/dev/null ||
  mount -t overlay -o "lowerdir=$lower,upperdir=upper,workdir=work" overlay root
cd root
mkdir -p proc sys dev tmp run root mnt .old
chmod 1777 tmp
mount -t proc proc proc
if [ "$privileged" = 1 ]; then mount -t sysfs sysfs sys; else mount -t sysfs -o ro sysfs sys; fi
make_devices
pivot_root . .old
cd /
while [ "$1" != -- ]; do
  source=/.old$1 destination=$2 mode=$3
  shift 3
  if [ -d "$source" ]; then
    mkdir -p "$destination"
  elif [ ! -e "$destination" ]; then
    mkdir -p "\${destination%/*}/"
    : >"$destination"
  fi
  mount --bind "$source" "$destination"
  if [ "$mode" = ro ]; then mount -o remount,bind,ro "$source" "$destination"; fi
done
shift
umount -l .old
rmdir .old
mkdir -p "$cwd"
if [ "$privileged" = 0 ]; then
  mount --bind /proc/sys /proc/sys
  mount -o remount,bind,ro /proc/sys /proc/sys
fi
if [ "$readonly" = 1 ]; then mount -o remount,bind,ro / /; fi
cd "$cwd"
found=0
case $program in
*/*) if [ -x "$program" ]; then found=1; fi ;;
*)
  saved=$IFS
  IFS=:
  for entry in $path; do
    if [ -x "$entry/$program" ]; then found=1; break; fi
  done
  IFS=$saved
  ;;
esac
if [ $found = 0 ]; then
  echo "exec: \\"$program\\": executable file not found in \\$PATH" >&2
  exit 127
fi
echo started >&2
exec 2>&4 3>&- 4>&-
exec "$@"
`;

export type ScriptName = 'node' | 'sandbox' | 'sandbox-remove' | 'container';

export const SCRIPTS: Readonly<Record<ScriptName, string>> = {
  node: NODE_SCRIPT,
  sandbox: SANDBOX_SCRIPT,
  'sandbox-remove': SANDBOX_REMOVE_SCRIPT,
  container: CONTAINER_SCRIPT,
};

const SCRIPT_FOLDER = 'scripts';

/** Below the folder of images, which every node has at `/run/lab/images`. */
export function scriptPath(name: ScriptName, images = '/run/lab/images'): string {
  return `${images}/${SCRIPT_FOLDER}/${name}.sh`;
}
