import { isDeepStrictEqual } from 'node:util';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { Cidr } from '../../net/cidr.ts';
import type { Ip, IpFamily } from '../../net/ip.ts';
import type { BackendSettings } from '../network-config.ts';
import { writeBackendSettings } from './write-settings.ts';

/**
 * How a node gets from one backend to another: `in-place` where the devices stay the same or change while they work,
 * `beside` where those of the new one are set up first and peers are moved over one by one.
 */
export type ChangeKind = 'none' | 'in-place' | 'beside';

/** What may differ while the same devices go on working: MTU, and who is reached without them. */
const HARMLESS = new Set(['MTU', 'DirectRouting', 'PersistentKeepaliveInterval', 'TxChecksumOffload']);

/** Throws CHANGE_REFUSED where the two cannot exist side by side on one node. */
export function changeKind(from: BackendSettings, to: BackendSettings): ChangeKind {
  const before = writeBackendSettings(from, { secrets: true });
  const after = writeBackendSettings(to, { secrets: true });
  if (isDeepStrictEqual(before, after)) return 'none';
  if (deviceOf(from) !== deviceOf(to)) return 'beside';
  const fields = new Set([...Object.keys(before), ...Object.keys(after)]);
  const differing = [...fields].filter((field) => before[field] !== after[field]);
  const grave = differing.filter((field) => !HARMLESS.has(field));
  if (grave.length === 0) return 'in-place';
  throw new FlatnetError(
    `network.Backend: ${describeBackend(from)} and ${describeBackend(to)} both need the device ${deviceOf(to)}, with another ${grave.join(' and ')}: they cannot exist side by side`,
    {
      code: 'CHANGE_REFUSED',
      hint:
        to.type === 'vxlan'
          ? 'change the VNI as well, so that the new device has another name'
          : 'go by way of another backend (vxlan or host-gw), in two changes',
    },
  );
}

/** A node as far as reaching it matters; `subnets`: what it reaches without a router, undefined where it is not known. */
export interface ReachNode {
  readonly node: string;
  readonly ips: ReadonlyMap<IpFamily, Ip>;
  readonly subnets: readonly Cidr[] | undefined;
  /** Whether it is Flatnet's: flanneld does not roll. */
  readonly rolls: boolean;
}

/** Why `from` would not reach `to` by the backend any more, in words; undefined where it would. */
export function unreachable(backend: BackendSettings, from: ReachNode, to: ReachNode): string | undefined {
  if (!to.rolls) {
    return `${to.node} is not run by Flatnet: it knows one backend at a time and would lose ${from.node}`;
  }
  if (backend.type === 'alloc') return 'alloc hands out addresses only: no pod of another node is reached';
  for (const [family, ip] of to.ips) {
    if (!from.ips.has(family)) continue;
    if (backend.type === 'ipip' && family === 6) return 'ipip carries IPv4 only';
    if (backend.type !== 'host-gw') continue;
    if (from.subnets === undefined)
      return `it is not known whether ${ip.toString()} is on a subnet of ${from.node}`;
    if (from.subnets.some((subnet) => subnet.contains(ip))) continue;
    const known = from.subnets.map(String).join(', ');
    return `${ip.toString()} is not on a subnet of ${from.node} (${known}): host-gw cannot reach it`;
  }
  return undefined;
}

/** `vxlan 1`, `wireguard`, …: for people. */
export const describeBackend = (settings: BackendSettings): string =>
  settings.type === 'vxlan' ? `vxlan ${settings.vni}` : settings.type;

/** The device that a backend needs for itself; backends without one have their type's name here. */
function deviceOf(settings: BackendSettings): string {
  switch (settings.type) {
    case 'vxlan':
      return `flannel.${settings.vni}`;
    case 'wireguard':
      return 'flannel-wg';
    case 'ipip':
      return 'flannel.ipip';
    case 'udp':
      return 'flannel0';
    default:
      return settings.type;
  }
}
