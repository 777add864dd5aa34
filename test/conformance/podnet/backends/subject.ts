import type { IpFamily } from '../../../../src/net/ip.ts';
import { INSIDE_UML } from '../../../uml/uml.ts';

/** A backend as the suite has to know it. */
export interface Subject {
  readonly name: string;
  /** network.Backend of the agents' configuration. */
  readonly backend: object;
  readonly families: readonly IpFamily[];
  /** What the encapsulation takes of each packet, bytes: of all families the most. */
  readonly overhead: number;
  /** Tunnel devices on every node. */
  readonly devices: readonly string[];
  /** Pods of another node on the same subnet can be reached; on another subnet. */
  readonly reaches: { readonly near: boolean; readonly far: boolean };
  /** What the agent says of a node that it cannot reach. */
  readonly complaint?: RegExp;
  /** The outer packet's time to live is the inner's: routers between nodes answer to nobody who could tell the pod. */
  readonly inheritsTtl?: boolean;
  /** How often the sender's node counts a packet's time to live down: its kernel, and a worker if it has one. */
  readonly hopsAtHome?: number;
  /** Only these: where the rest is told by another subject, and a cluster is slow to build. */
  readonly rows?: 'reach';
  /** Bytes that a large transfer moves. */
  readonly large?: number;
  /** More fields of the agents' configuration. */
  readonly agent?: object;
}

/** Its nftables mode, which is the default, cannot be where a kernel has no nftables. */
const WITHOUT_PROXY = { proxy: { enabled: false } } as const;
const LARGE = 50_000_000;
/** Through a program of user space, or in a machine that is one. */
const MODERATE = 20_000_000;
const EVERYWHERE = { near: true, far: true } as const;

/**
 * The table of all backends. To add one is to add a row here, and its name to the list of the file for the kernel that
 * has it: backends.kernel.ts and wireguard.kernel.ts (the machine's own) or backends.uml.ts (user-mode-linux).
 */
const SUBJECTS = {
  vxlan: {
    name: 'vxlan',
    backend: { Type: 'vxlan' },
    families: [4, 6],
    overhead: 70,
    devices: ['flannel.1', 'flannel-v6.1'],
    reaches: EVERYWHERE,
  },
  'vxlan-direct': {
    name: 'vxlan with DirectRouting, GBP and learning',
    backend: { Type: 'vxlan', VNI: 4096, Port: 4789, DirectRouting: true, GBP: true, Learning: true },
    families: [4, 6],
    overhead: 70,
    devices: ['flannel.4096', 'flannel-v6.4096'],
    reaches: EVERYWHERE,
  },
  'host-gw': {
    name: 'host-gw',
    backend: { Type: 'host-gw' },
    families: [4, 6],
    overhead: 0,
    devices: [],
    reaches: { near: true, far: false },
    complaint: /node-3: 172\.31\.0\.3 is not on a subnet of eth0.*host-gw cannot reach it/,
  },
  alloc: {
    name: 'alloc',
    backend: { Type: 'alloc' },
    families: [4, 6],
    overhead: 0,
    devices: [],
    reaches: { near: false, far: false },
  },
  wireguard: {
    name: 'wireguard',
    large: MODERATE,
    backend: { Type: 'wireguard' },
    families: [4, 6],
    overhead: 80,
    devices: ['flannel-wg', 'flannel-wg-v6'],
    reaches: EVERYWHERE,
  },
  udp: {
    name: 'udp',
    large: MODERATE,
    backend: { Type: 'udp' },
    families: [4],
    overhead: 28,
    devices: ['flannel0'],
    reaches: EVERYWHERE,
    hopsAtHome: 2,
  },
  ipip: {
    name: 'ipip',
    large: MODERATE,
    backend: { Type: 'ipip' },
    families: [4],
    overhead: 20,
    devices: ['flannel.ipip'],
    reaches: EVERYWHERE,
    inheritsTtl: true,
    agent: WITHOUT_PROXY,
  },
  'ipip-direct': {
    name: 'ipip with DirectRouting',
    rows: 'reach',
    large: MODERATE,
    backend: { Type: 'ipip', DirectRouting: true },
    families: [4],
    overhead: 20,
    devices: ['flannel.ipip'],
    reaches: EVERYWHERE,
    inheritsTtl: true,
    agent: WITHOUT_PROXY,
  },
  'wireguard-auto': {
    name: 'wireguard with one device for both families and a preshared key',
    large: MODERATE,
    backend: {
      Type: 'wireguard',
      Mode: 'auto',
      PSK: Buffer.alloc(32, 'shared').toString('base64'),
      PersistentKeepaliveInterval: 25,
    },
    families: [4, 6],
    overhead: 80,
    devices: ['flannel-wg'],
    reaches: EVERYWHERE,
  },
} as const satisfies Readonly<Record<string, Subject>>;

export const subject = (name: keyof typeof SUBJECTS): Subject => ({ large: LARGE, ...SUBJECTS[name] });

/** Of everything that has to be waited for, user-mode-linux, which has one processor, needs more. */
export const SLOWNESS = INSIDE_UML ? 4 : 1;
/** Of the machines, as Ethernet has it. */
export const UNDERLAY_MTU = 1500;
