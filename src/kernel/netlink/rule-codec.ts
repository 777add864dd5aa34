import { Cidr } from '../../net/cidr.ts';
import { Ip, type IpFamily } from '../../net/ip.ts';
import { AF_INET, AF_INET6 } from '../libc/libc.ts';
import { addressFamily } from './address-codec.ts';
import { RT_TABLE_MAIN, RT_TABLE_UNSPEC, RTPROT_STATIC } from './constants.ts';
import { checkLinkName } from './link-codec.ts';
import { Attributes, MessageBuilder } from './message.ts';
import type { NewRule, Rule, RuleAction } from './objects.ts';

// struct fib_rule_hdr and attributes of <linux/fib_rules.h>.
const HEADER_LENGTH = 12;
const FRA = {
  DST: 1,
  SRC: 2,
  IIFNAME: 3,
  PRIORITY: 6,
  FWMARK: 10,
  SUPPRESS_PREFIXLEN: 14,
  TABLE: 15,
  FWMASK: 16,
  OIFNAME: 17,
  PROTOCOL: 21,
} as const;
const FIB_RULE_INVERT = 0x2;
const ACTIONS: Readonly<Record<RuleAction, number>> = {
  lookup: 1,
  goto: 2,
  nop: 3,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
};
const ACTION_OF = new Map(Object.entries(ACTIONS).map(([name, number]) => [number, name as RuleAction]));
const NOT_SET = 0xffffffff;

/** The payload of RTM_NEWRULE and RTM_DELRULE. */
export function encodeRule(rule: NewRule): Buffer {
  const action = ACTIONS[rule.action ?? 'lookup'];
  const table = rule.table ?? ((rule.action ?? 'lookup') === 'lookup' ? RT_TABLE_MAIN : RT_TABLE_UNSPEC);
  const builder = header(addressFamily(rule.family), {
    destination: rule.destination,
    source: rule.source,
    table: table < 256 ? table : RT_TABLE_UNSPEC,
    action,
    flags: rule.invert === true ? FIB_RULE_INVERT : 0,
  });
  builder.attrU32(FRA.PRIORITY, rule.priority);
  builder.attrU8(FRA.PROTOCOL, rule.protocol ?? RTPROT_STATIC);
  if (table >= 256) builder.attrU32(FRA.TABLE, table);
  if (rule.source !== undefined) builder.attrBytes(FRA.SRC, rule.source.ip.toBytes());
  if (rule.destination !== undefined) builder.attrBytes(FRA.DST, rule.destination.ip.toBytes());
  if (rule.mark !== undefined) builder.attrU32(FRA.FWMARK, rule.mark);
  if (rule.mask !== undefined) builder.attrU32(FRA.FWMASK, rule.mask);
  if (rule.inputLink !== undefined) builder.attrString(FRA.IIFNAME, checkLinkName(rule.inputLink));
  if (rule.outputLink !== undefined) builder.attrString(FRA.OIFNAME, checkLinkName(rule.outputLink));
  if (rule.suppressPrefixLength !== undefined) {
    builder.attrU32(FRA.SUPPRESS_PREFIXLEN, rule.suppressPrefixLength);
  }
  return builder.finish();
}

/** The payload of a RTM_GETRULE dump. */
export function encodeRuleQuery(family: IpFamily): Buffer {
  const none = { destination: undefined, source: undefined, table: 0, action: 0, flags: 0 };
  return header(addressFamily(family), none).finish();
}

/** Decodes RTM_NEWRULE and RTM_DELRULE; undefined for other families and unknown actions. */
export function decodeRule(body: Buffer): Rule | undefined {
  const number = body.readUInt8(0);
  const action = ACTION_OF.get(body.readUInt8(7));
  if ((number !== AF_INET && number !== AF_INET6) || action === undefined) return undefined;
  const attributes = Attributes.parse(body, HEADER_LENGTH);
  const suppress = attributes.u32(FRA.SUPPRESS_PREFIXLEN);
  const prefix = (type: number, length: number): Cidr | undefined => {
    const bytes = attributes.bytes(type);
    return bytes === undefined ? undefined : new Cidr(Ip.fromBytes(bytes), length);
  };
  const found = {
    source: prefix(FRA.SRC, body.readUInt8(2)),
    destination: prefix(FRA.DST, body.readUInt8(1)),
    mark: attributes.u32(FRA.FWMARK),
    mask: attributes.u32(FRA.FWMASK),
    inputLink: attributes.string(FRA.IIFNAME),
    outputLink: attributes.string(FRA.OIFNAME),
    suppressPrefixLength: suppress === NOT_SET ? undefined : suppress,
  };
  return {
    family: number === AF_INET ? 4 : 6,
    priority: attributes.u32(FRA.PRIORITY) ?? 0,
    action,
    table: attributes.u32(FRA.TABLE) ?? body.readUInt8(4),
    invert: (body.readUInt32LE(8) & FIB_RULE_INVERT) !== 0,
    protocol: attributes.u8(FRA.PROTOCOL) ?? 0,
    ...(Object.fromEntries(
      Object.entries(found).filter(([, value]) => value !== undefined),
    ) as Partial<Rule>),
  };
}

interface Fields {
  readonly destination: Cidr | undefined;
  readonly source: Cidr | undefined;
  readonly table: number;
  readonly action: number;
  readonly flags: number;
}

function header(family: number, fields: Fields): MessageBuilder {
  return new MessageBuilder(128)
    .u8(family)
    .u8(fields.destination?.prefixLength ?? 0)
    .u8(fields.source?.prefixLength ?? 0)
    .u8(0)
    .u8(fields.table)
    .u8(0)
    .u8(0)
    .u8(fields.action)
    .u32(fields.flags);
}
