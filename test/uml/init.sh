#!/bin/bash
# Process 1 of a user-mode-linux that scripts/uml.sh boots: sets the machine up, runs the job, brings its exit code back.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
read -ra words </proc/cmdline
for word in "${words[@]}"; do
  case $word in
    flatnet_job=*) job=${word#*=} ;;
    flatnet_root=*) root=${word#*=} ;;
  esac
done

mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts -o ptmxmode=0666 devpts /dev/pts
ln -sfn /proc/self/fd /dev/fd
ln -sfn /proc/self/fd/0 /dev/stdin
ln -sfn /proc/self/fd/1 /dev/stdout
ln -sfn /proc/self/fd/2 /dev/stderr
for folder in /run /var /root; do mount -t tmpfs tmpfs $folder; done
mkdir -p /run/netns /run/lock /var/tmp /var/log /var/lib
ln -sfn /run /var/run
mkdir /run/job
mount -t hostfs none /run/job -o "$job"
# The repository may itself stand in /tmp.
case $root in /tmp/*) mkdir -p /run/repository && mount -t hostfs none /run/repository -o "$root" ;; esac
mount -t tmpfs -o mode=1777 tmpfs /tmp
if [ -d /run/repository ]; then mkdir -p "$root" && mount --move /run/repository "$root"; fi
for folder in "$root"/node_modules/.vite{,-temp}; do mount -t tmpfs tmpfs "$folder"; done

# modprobe looks under /lib/modules, which the machine may not have, and which cannot be made in a file system that is
# read only. The kernel's own requests take the detour by a script, everybody else's by modprobe's variable.
mkdir -p /run/modprobe/lib
ln -s /usr/lib/uml/modules /run/modprobe/lib/modules
printf '#!/bin/sh\nMODPROBE_OPTIONS="-d /run/modprobe" exec modprobe "$@"\n' >/run/modprobe/modprobe
chmod 755 /run/modprobe/modprobe
echo /run/modprobe/modprobe >/proc/sys/kernel/modprobe
export MODPROBE_OPTIONS='-d /run/modprobe'
# What a node of a cluster has without being asked: pods on a bridge are translated there, too.
modprobe -a ipv6 br_netfilter
hostname uml
ip link set lo up

modules() { for name in $1; do modprobe "$name" || echo "uml: no module $name" >/dev/tty2; done; }
share() { mkdir -p "$1"; mount -t hostfs none "$1" -o "$1"; }
command() {
  # Terminals that turn no newline into two characters; by way of cat, so that the command sees no terminal.
  stty raw -echo </dev/tty1
  stty raw -echo </dev/tty2
  mkfifo /run/output /run/errors
  cat /run/output >/dev/tty1 &
  local output=$!
  cat /run/errors >/dev/tty2 &
  local errors=$!
  "$@" </dev/null >/run/output 2>/run/errors
  code=$?
  # What the command left running may hold the other ends for ever.
  for _ in {1..100}; do
    kill -0 $output 2>/dev/null || kill -0 $errors 2>/dev/null || break
    sleep 0.02
  done
  # A terminal's settings change when all is written that was to be.
  stty sane </dev/tty1
  stty sane </dev/tty2
  echo $code >/run/job/exit
}
. /run/job/job
sync
echo o >/proc/sysrq-trigger
sleep 10
