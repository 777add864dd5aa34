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
  /** More fields of the agents' configuration. */
  readonly agent?: object;
}

const EVERYWHERE = { near: true, far: true } as const;

/**
 * The table of all backends. To add one is to add a row here, and its name to the list of the file for the kernel that
 * has it: backends.kernel.ts (the machine's own) or backends.uml.ts (user-mode-linux).
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
  ipip: {
    name: 'ipip',
    backend: { Type: 'ipip' },
    families: [4],
    overhead: 20,
    devices: ['flannel.ipip'],
    reaches: EVERYWHERE,
    inheritsTtl: true,
  },
  'ipip-direct': {
    name: 'ipip with DirectRouting',
    backend: { Type: 'ipip', DirectRouting: true },
    families: [4],
    overhead: 20,
    devices: ['flannel.ipip'],
    reaches: EVERYWHERE,
    inheritsTtl: true,
  },
} as const satisfies Readonly<Record<string, Subject>>;

export const subject = (name: keyof typeof SUBJECTS): Subject => SUBJECTS[name];

/** Of everything that has to be waited for, user-mode-linux, which has one processor, needs more. */
export const SLOWNESS = INSIDE_UML ? 4 : 1;
/** Bytes that a large transfer moves. */
export const LARGE = INSIDE_UML ? 10_000_000 : 50_000_000;
/** Of the machines, as Ethernet has it. */
export const UNDERLAY_MTU = 1500;
