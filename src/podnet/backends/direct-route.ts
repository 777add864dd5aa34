import { podMtu, type Backend, type LocalNode, type Peer } from './backend.ts';
import type { RouteEntry } from './entry.ts';

/**
 * The way past a tunnel, to a node on the same subnet. It has the MTU of pods, which is the tunnel's: with br_netfilter
 * a bridge puts fragments together again, and an IPv6 packet that then fitted the underlay but not the far bridge
 * would go out whole, and be refused there each time.
 */
export function directRoute(backend: Backend, local: LocalNode, { podCidr, publicIp }: Peer): RouteEntry {
  const { device } = local.underlay;
  const mtu = podMtu([backend], local);
  return { kind: 'route', device, destination: podCidr, via: publicIp, onlink: false, mtu };
}
