import { Ip } from '../../net/ip.ts';
import type { Attributes, MessageBuilder } from './message.ts';
import type {
  BridgeAttributes,
  BridgePort,
  IpipAttributes,
  Link,
  LinkChange,
  NewLink,
  VxlanAttributes,
} from './objects.ts';

// IFLA_LINKINFO: what a kind of link has of its own. <linux/if_link.h>, <linux/if_tunnel.h>, <linux/veth.h>.
const INFO = { KIND: 1, DATA: 2, SLAVE_KIND: 4, SLAVE_DATA: 5 } as const;
const VETH_INFO_PEER = 1;
const VXLAN = { ID: 1, LINK: 3, LOCAL: 4, LEARNING: 7, PORT: 15, LOCAL6: 17, GBP: 23 } as const;
const IPTUN = { LINK: 1, LOCAL: 2, REMOTE: 3, TTL: 4, PMTUDISC: 10 } as const;
const BRIDGE = { AGEING_TIME: 4, STP_STATE: 5, VLAN_FILTERING: 7, MCAST_SNOOPING: 23 } as const;

/** USER_HZ: the kernel tells and takes a bridge's times in hundredths of a second. */
const CENTISECONDS = 100;

const BRIDGE_PORT = {
  hairpin: 4,
  learning: 8,
  unicastFlood: 9,
  proxyArp: 10,
  multicastFlood: 27,
  broadcastFlood: 30,
  neighbourSuppression: 32,
  isolated: 33,
} as const satisfies Record<keyof BridgePort, number>;

/** Fills IFLA_LINKINFO of a new link; `writePeer` adds the message of a veth's other end. */
export function writeLinkInfo(builder: MessageBuilder, link: NewLink, writePeer: () => void): void {
  builder.attrString(INFO.KIND, link.kind);
  builder.nest(INFO.DATA, () => {
    switch (link.kind) {
      case 'veth':
        builder.nest(VETH_INFO_PEER, writePeer);
        break;
      case 'vxlan':
        writeVxlan(builder, link.vxlan);
        break;
      case 'ipip':
        writeIpip(builder, link.ipip);
        break;
      case 'bridge':
        writeBridge(builder, link.bridge ?? {});
        break;
      case 'dummy':
      case 'ifb':
      case 'wireguard':
        break;
    }
  });
}

/** Fills IFLA_LINKINFO of a change: the kind has to be the link's own. */
export function writeLinkInfoChange(builder: MessageBuilder, { ipip, port }: LinkChange): void {
  if (ipip !== undefined) {
    builder.attrString(INFO.KIND, 'ipip');
    builder.nest(INFO.DATA, () => writeIpip(builder, ipip));
  }
  if (port === undefined) return;
  builder.attrString(INFO.SLAVE_KIND, 'bridge');
  builder.nest(INFO.SLAVE_DATA, () => writePort(builder, port));
}

/** Attributes of IFLA_PROTINFO and IFLA_INFO_SLAVE_DATA are the same. */
export function writePort(builder: MessageBuilder, change: Partial<BridgePort>): void {
  for (const [name, type] of Object.entries(BRIDGE_PORT)) {
    const value = change[name as keyof BridgePort];
    if (value !== undefined) builder.attrU8(type, Number(value));
  }
}

function writeVxlan(builder: MessageBuilder, vxlan: Partial<VxlanAttributes>): void {
  if (vxlan.vni !== undefined) builder.attrU32(VXLAN.ID, vxlan.vni);
  if (vxlan.parent !== undefined) builder.attrU32(VXLAN.LINK, vxlan.parent);
  if (vxlan.local !== undefined) {
    builder.attrBytes(vxlan.local.family === 4 ? VXLAN.LOCAL : VXLAN.LOCAL6, vxlan.local.toBytes());
  }
  builder.attrU8(VXLAN.LEARNING, Number(vxlan.learning ?? false));
  if (vxlan.port !== undefined) builder.attrU16be(VXLAN.PORT, vxlan.port);
  if (vxlan.gbp === true) builder.attrFlag(VXLAN.GBP);
}

/** All of it each time: ipip_changelink takes what is left out for zero. */
function writeIpip(builder: MessageBuilder, ipip: IpipAttributes): void {
  if (ipip.parent !== undefined) builder.attrU32(IPTUN.LINK, ipip.parent);
  if (ipip.local !== undefined) builder.attrBytes(IPTUN.LOCAL, ipip.local.toBytes());
  if (ipip.remote !== undefined) builder.attrBytes(IPTUN.REMOTE, ipip.remote.toBytes());
  builder.attrU8(IPTUN.TTL, ipip.ttl);
  builder.attrU8(IPTUN.PMTUDISC, Number(ipip.pmtuDiscovery));
}

function writeBridge(builder: MessageBuilder, bridge: Partial<BridgeAttributes>): void {
  if (bridge.ageingSeconds !== undefined) {
    builder.attrU32(BRIDGE.AGEING_TIME, Math.round(bridge.ageingSeconds * CENTISECONDS));
  }
  if (bridge.stp !== undefined) builder.attrU32(BRIDGE.STP_STATE, Number(bridge.stp));
  if (bridge.vlanFiltering !== undefined) builder.attrU8(BRIDGE.VLAN_FILTERING, Number(bridge.vlanFiltering));
  if (bridge.multicastSnooping !== undefined) {
    builder.attrU8(BRIDGE.MCAST_SNOOPING, Number(bridge.multicastSnooping));
  }
}

export function decodeLinkInfo(info: Attributes | undefined): Partial<Link> {
  if (info === undefined) return {};
  const kind = info.string(INFO.KIND);
  const data = info.nested(INFO.DATA);
  const portData = info.string(INFO.SLAVE_KIND) === 'bridge' ? info.nested(INFO.SLAVE_DATA) : undefined;
  return {
    ...optional('kind', kind),
    ...(kind === 'vxlan' && data !== undefined ? { vxlan: decodeVxlan(data) } : {}),
    ...(kind === 'ipip' && data !== undefined ? { ipip: decodeIpip(data) } : {}),
    ...(kind === 'bridge' && data !== undefined ? { bridge: decodeBridge(data) } : {}),
    ...(portData === undefined ? {} : { port: decodePort(portData) }),
  };
}

function decodeVxlan(data: Attributes): VxlanAttributes {
  const local = data.bytes(VXLAN.LOCAL) ?? data.bytes(VXLAN.LOCAL6);
  return {
    vni: data.u32(VXLAN.ID) ?? 0,
    ...optional('local', local === undefined ? undefined : Ip.fromBytes(local)),
    ...optional('parent', data.u32(VXLAN.LINK)),
    port: data.u16be(VXLAN.PORT) ?? 0,
    learning: data.u8(VXLAN.LEARNING) === 1,
    gbp: data.has(VXLAN.GBP),
  };
}

function decodeIpip(data: Attributes): IpipAttributes {
  const parent = data.u32(IPTUN.LINK);
  return {
    ...optional('parent', parent === 0 ? undefined : parent),
    ...optional('local', tunnelEnd(data.bytes(IPTUN.LOCAL))),
    ...optional('remote', tunnelEnd(data.bytes(IPTUN.REMOTE))),
    ttl: data.u8(IPTUN.TTL) ?? 0,
    pmtuDiscovery: data.u8(IPTUN.PMTUDISC) === 1,
  };
}

/** 0.0.0.0 stands for any. */
function tunnelEnd(bytes: Buffer | undefined): Ip | undefined {
  return bytes === undefined || bytes.every((byte) => byte === 0) ? undefined : Ip.fromBytes(bytes);
}

function decodeBridge(data: Attributes): BridgeAttributes {
  return {
    stp: data.u32(BRIDGE.STP_STATE) !== 0,
    vlanFiltering: data.u8(BRIDGE.VLAN_FILTERING) === 1,
    multicastSnooping: data.u8(BRIDGE.MCAST_SNOOPING) === 1,
    ageingSeconds: (data.u32(BRIDGE.AGEING_TIME) ?? 0) / CENTISECONDS,
  };
}

function decodePort(data: Attributes): BridgePort {
  const flag = (name: keyof BridgePort): boolean => data.u8(BRIDGE_PORT[name]) === 1;
  return {
    hairpin: flag('hairpin'),
    learning: flag('learning'),
    unicastFlood: flag('unicastFlood'),
    multicastFlood: flag('multicastFlood'),
    broadcastFlood: flag('broadcastFlood'),
    isolated: flag('isolated'),
    neighbourSuppression: flag('neighbourSuppression'),
    proxyArp: flag('proxyArp'),
  };
}

/** Leaves the key out where there is no value. */
export function optional<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]: V });
}
