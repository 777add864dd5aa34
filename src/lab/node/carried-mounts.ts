/** File systems that are made anew in every node, or that belong to the host alone. */
const OWN = new Set(
  [
    'autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs fusectl hugetlbfs mqueue nsfs',
    'proc pstore ramfs rpc_pipefs securityfs sysfs tracefs',
  ].flatMap((line) => line.split(' ')),
);

/**
 * An overlay of `/` does not show what is mounted below `/`. These are the mount points of the host that hold
 * one of the needed paths and have to be bound into the new root; the nearest only, in the order of mounting.
 * `mountinfo` is the text of /proc/self/mountinfo, proc(5).
 */
export function carriedMounts(mountinfo: string, needs: readonly string[]): string[] {
  const points = mountinfo
    .split('\n')
    .map((line) => line.split(' '))
    .filter((fields) => fields.length > 6 && !OWN.has(fields[fields.indexOf('-') + 1] ?? ''))
    .map((fields) => unescape(fields[4] ?? '/'))
    .filter((point) => point !== '/');
  const nearest = needs.flatMap((path) => {
    const holders = points.filter((point) => path === point || path.startsWith(`${point}/`));
    return holders.sort((a, b) => b.length - a.length).slice(0, 1);
  });
  return [...new Set(nearest)].sort((a, b) => a.length - b.length);
}

/** mountinfo writes space, tab, newline and backslash in octal. */
function unescape(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
