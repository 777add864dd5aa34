import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import type { EntryWriter } from './entry-writer.ts';
import { cleanComment, probabilityParts } from './format-rule.ts';
import { VERDICTS } from './legacy-layout.ts';
import type {
  ConnectionState,
  Criterion,
  IptablesRule,
  RuleMatch,
  RuleTarget,
  TransportName,
} from './rule.ts';

const PROTOCOLS: Readonly<Record<TransportName, number>> = { tcp: 6, udp: 17, sctp: 132 };
/** IPT_INV_* and IP6T_INV_* */
const INVERT_INPUT = 0x01;
const INVERT_SOURCE = 0x08;
const INVERT_DESTINATION = 0x10;
/** IP6T_F_PROTO: the protocol counts. In IPv4 it does where it is not 0. */
const IPV6_PROTOCOL = 0x01;
const IFNAMSIZ = 16;
/** XT_CONNTRACK_STATE_BIT and its like (linux/netfilter/xt_conntrack.h). */
const STATE_BITS: Readonly<Record<ConnectionState, number>> = {
  INVALID: 0x01,
  ESTABLISHED: 0x02,
  RELATED: 0x04,
  NEW: 0x08,
  SNAT: 0x40,
  DNAT: 0x80,
};
/** NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED */
const NAT_ADDRESS_AND_PORT = 3;
/** NF_NAT_RANGE_PROTO_RANDOM_FULLY */
const NAT_RANDOM_FULLY = 16;

/** Writes the rule as an entry, byte for byte as iptables-legacy 1.8 writes it. */
export function encodeRule(writer: EntryWriter, rule: IptablesRule): void {
  const { layout } = writer;
  const start = writer.begin();
  const { bytes } = writer;
  let inverted = 0;
  if (rule.source !== undefined) {
    writePrefix(bytes, start + layout.source, start + layout.sourceMask, rule.source);
    if (rule.source.not === true) inverted |= INVERT_SOURCE;
  }
  if (rule.destination !== undefined) {
    writePrefix(bytes, start + layout.destination, start + layout.destinationMask, rule.destination);
    if (rule.destination.not === true) inverted |= INVERT_DESTINATION;
  }
  if (rule.input !== undefined) {
    writeInterface(bytes, start + layout.input, start + layout.inputMask, rule.input.value);
    if (rule.input.not === true) inverted |= INVERT_INPUT;
  }
  if (rule.protocol !== undefined) {
    bytes.writeUInt16LE(PROTOCOLS[rule.protocol], start + layout.protocol);
    if (layout.family === 6) bytes[start + layout.flags] = IPV6_PROTOCOL;
  }
  bytes[start + layout.inverted] = inverted;
  for (const match of rule.matches ?? []) encodeMatch(writer, match, rule.protocol);
  writer.target(start);
  encodeTarget(writer, rule.target);
  writer.end(start);
}

function encodeMatch(writer: EntryWriter, match: RuleMatch, protocol: TransportName | undefined): void {
  switch (match.kind) {
    case 'comment': {
      const at = writer.extension('comment', 0, 256);
      writer.bytes.write(cleanComment(match.text), at, 'latin1');
      return;
    }
    case 'transport':
      encodeTransport(writer, match.port, protocol);
      return;
    case 'statistic': {
      // struct xt_statistic_info; the tool leaves the number in both members of its union.
      const at = writer.extension('statistic', 0, 24);
      const parts = probabilityParts(match.outOf);
      writer.bytes.writeUInt32LE(parts, at + 4);
      writer.bytes.writeUInt32LE(parts, at + 12);
      return;
    }
    case 'conntrack': {
      // struct xt_conntrack_mtinfo3: match_flags, invert_flags, state_mask
      const at = writer.extension('conntrack', 3, 164);
      writer.bytes.writeUInt16LE(1, at + 146);
      writer.bytes.writeUInt16LE(match.not === true ? 1 : 0, at + 148);
      const mask = match.states.reduce((bits, state) => bits | STATE_BITS[state], 0);
      writer.bytes.writeUInt16LE(mask, at + 150);
      return;
    }
    case 'mark': {
      const at = writer.extension('mark', 1, 12);
      writer.bytes.writeUInt32LE(match.mark, at);
      writer.bytes.writeUInt32LE(match.mark, at + 4);
      writer.bytes[at + 8] = match.not === true ? 1 : 0;
      return;
    }
    case 'local-address': {
      // struct xt_addrtype_info_v1: bits by RTN_LOCAL
      const at = writer.extension('addrtype', 1, 8);
      writer.bytes.writeUInt16LE(1 << 2, at + (match.of === 'source' ? 0 : 2));
      return;
    }
    case 'recent-set':
      encodeRecent(writer, match.list, 0, 0x02);
      return;
    case 'recent-check':
      encodeRecent(writer, match.list, match.seconds, 0x01 | 0x20);
      return;
    case 'set':
      encodeSet(writer, match);
      return;
    case 'nfacct': {
      const at = writer.extension('nfacct', 1, 40);
      writer.bytes.write(match.counter, at, 'latin1');
      return;
    }
  }
}

function encodeTransport(
  writer: EntryWriter,
  port: number | undefined,
  protocol = 'tcp' as TransportName,
): void {
  if (protocol === 'sctp') {
    // struct xt_sctp_info: dpts, spts, chunkmap, chunk_match_type, flag_info, flag_count, flags, invflags
    const at = writer.extension('sctp', 0, 292);
    for (let index = 0; index < 4; index += 1) writer.bytes[at + 268 + 3 * index] = 0xff;
    if (port === undefined) return;
    writer.bytes.writeUInt16LE(port, at);
    writer.bytes.writeUInt16LE(port, at + 2);
    writer.bytes.writeUInt32LE(0x02, at + 284);
    return;
  }
  // struct xt_tcp and xt_udp: spts, dpts, and what is nought here
  const at = writer.extension(protocol, 0, protocol === 'tcp' ? 12 : 10);
  writer.bytes.writeUInt16LE(0xffff, at + 2);
  writer.bytes.writeUInt16LE(port ?? 0, at + 4);
  writer.bytes.writeUInt16LE(port ?? 0xffff, at + 6);
}

/** struct xt_recent_mtinfo_v1: seconds, hit_count, check_set, invert, name[200], side, mask */
function encodeRecent(writer: EntryWriter, list: string, seconds: number, checkSet: number): void {
  const at = writer.extension('recent', 1, 228);
  writer.bytes.writeUInt32LE(seconds, at);
  writer.bytes[at + 8] = checkSet;
  writer.bytes.write(list.slice(0, 199), at + 10, 'latin1');
  writer.bytes.fill(0xff, at + 212, at + 228);
}

/**
 * struct xt_set_info_match_v4, which Linux has since 3.19: match_set {index, dim, flags}, then comparisons of counters,
 * of which there are none.
 */
function encodeSet(writer: EntryWriter, match: RuleMatch & { readonly kind: 'set' }): void {
  if (match.number === undefined) {
    throw new FlatnetError(`the number of ipset ${match.set} was not asked for`, { code: 'IPSET_NUMBER' });
  }
  const at = writer.extension('set', 4, 48);
  writer.bytes.writeUInt16LE(match.number, at);
  writer.bytes[at + 2] = match.of.length;
  // IPSET_INV_MATCH, and IPSET_DIM_ONE_SRC with those of further dimensions above it.
  let flags = match.not === true ? 1 : 0;
  for (const [index, of] of match.of.entries()) if (of === 'src') flags |= 2 << index;
  writer.bytes[at + 3] = flags;
}

function encodeTarget(writer: EntryWriter, target: RuleTarget | undefined): void {
  if (target === undefined) {
    writer.standard('next');
    return;
  }
  switch (target.kind) {
    case 'verdict':
      writer.standard(VERDICTS[target.verdict]);
      return;
    case 'jump':
      writer.standard({ chain: target.chain });
      return;
    case 'reject': {
      // IPT_ICMP_PORT_UNREACHABLE, IPT_TCP_RESET; IP6T_ICMP6_PORT_UNREACH, IP6T_TCP_RESET
      const [unreachable, reset] = writer.layout.family === 4 ? [3, 7] : [4, 6];
      const at = writer.extension('REJECT', 0, 4);
      writer.bytes.writeUInt32LE(target.with === 'tcp-reset' ? reset : unreachable, at);
      return;
    }
    case 'dnat': {
      // struct nf_nat_range2: flags, min_addr, max_addr, min_proto, max_proto, base_proto
      const at = writer.extension('DNAT', 2, 44);
      const address = Ip.parse(target.address).toBytes();
      writer.bytes.writeUInt32LE(NAT_ADDRESS_AND_PORT, at);
      writer.bytes.set(address, at + 4);
      writer.bytes.set(address, at + 20);
      writer.bytes.writeUInt16BE(target.port, at + 36);
      writer.bytes.writeUInt16BE(target.port, at + 38);
      return;
    }
    case 'mark': {
      const at = writer.extension('MARK', 2, 8);
      writer.bytes.writeUInt32LE(target.value, at);
      writer.bytes.writeUInt32LE(target.mask, at + 4);
      return;
    }
    default: {
      const flags = target.randomFully ? NAT_RANDOM_FULLY : 0;
      // struct nf_nat_ipv4_multi_range_compat: rangesize, flags; struct nf_nat_range: flags
      const at = writer.extension('MASQUERADE', 0, writer.layout.family === 4 ? 20 : 40);
      if (writer.layout.family === 4) writer.bytes.writeUInt32LE(1, at);
      writer.bytes.writeUInt32LE(flags, writer.layout.family === 4 ? at + 4 : at);
    }
  }
}

function writePrefix(bytes: Buffer, at: number, maskAt: number, { value }: Criterion): void {
  const prefix = value.includes('/') ? Cidr.parse(value) : undefined;
  const ip = prefix?.ip ?? Ip.parse(value);
  const address = ip.toBytes();
  let bits = prefix?.prefixLength ?? address.length * 8;
  bytes.set(address, at);
  for (let index = 0; bits > 0; index += 1, bits -= 8) bytes[maskAt + index] = 0xff << Math.max(0, 8 - bits);
}

function writeInterface(bytes: Buffer, at: number, maskAt: number, name: string): void {
  if (name.length === 0 || name.length >= IFNAMSIZ) {
    throw new FlatnetError(`"${name}" is no name of an interface`, {
      code: 'INVALID_INTERFACE',
      hint: `names have 1 to ${IFNAMSIZ - 1} characters`,
    });
  }
  bytes.write(name, at, 'latin1');
  bytes.fill(0xff, maskAt, maskAt + (name.endsWith('+') ? name.length - 1 : name.length + 1));
}
