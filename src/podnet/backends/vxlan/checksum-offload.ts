/** Stable branches, and the release of each from which on the fault is mended. */
const MENDED: ReadonlyMap<string, number> = new Map([
  ['4.14', 181],
  ['4.19', 123],
  ['5.4', 41],
  ['5.6', 13],
]);

/**
 * Whether this kernel sends VXLAN packets with wrong checksums when the device is left to compute them: a packet that
 * was masqueraded with `--random-fully` (a node to a Service whose pod is elsewhere) got an outer UDP checksum
 * where 0, none, was meant; receivers drop it until, some 63 s later, a retransmission passes (flannel#1282,
 * calico#3145, kubernetes#88986). Mended by "netfilter: nat: never update the UDP checksum when it's 0" in Linux 5.7
 * and the stable branches above (kubernetes#88986, comment of 2020-05-28). Distributions number their kernels
 * otherwise (`5.4.0-150-generic`), so theirs count as faulty: that costs throughput, not packets. Later faults are
 * those of network cards (calico#4727, #9433), which no version tells: for them there is the setting.
 */
export function hasChecksumFault(release: string): boolean {
  const [, major = '0', minor = '0', patch = '0'] = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release) ?? [];
  const [series, level] = [Number(major) * 1000 + Number(minor), Number(patch)];
  return series < 5007 && level < (MENDED.get(`${major}.${minor}`) ?? Infinity);
}
