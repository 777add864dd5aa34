import { Attributes, MessageBuilder } from './message.ts';

// Traffic control of rtnetlink: struct tcmsg of <linux/rtnetlink.h>, <linux/pkt_sched.h>, <linux/pkt_cls.h>,
// <linux/tc_act/tc_mirred.h>.

const TCMSG_LENGTH = 20;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TC_H_ROOT = 0xffffffff;
const TC_H_INGRESS = 0xfffffff1;
const INGRESS_HANDLE = 0xffff0000;
/** Handle 1:, so that the queue is not taken for the kernel's own one, whose handle is 0. */
const TBF_HANDLE = 0x10000;

const TCA_TBF = { PARMS: 1, RATE64: 4, BURST: 6 } as const;
/** TC_LINKLAYER_ETHERNET: with none the kernel would want a table of times for packet sizes. */
const LINKLAYER_ETHERNET = 1;
const MAX_U32 = 0xffffffff;

const TCA_U32 = { CLASSID: 1, SEL: 5, ACT: 7 } as const;
const U32_TERMINAL = 1;
const TCA_ACT = { KIND: 1, OPTIONS: 2 } as const;
const TCA_MIRRED_PARMS = 2;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;
/** Priority 1 in the upper half, ETH_P_ALL in network order in the lower. */
const FILTER_INFO = 0x10000 | 0x0300;

/** A token bucket (tc-tbf(8)): what leaves a device. */
export interface TokenBucket {
  readonly bytesPerSecond: number;
  /** Bytes that may go at once; at least a packet of the device. */
  readonly burstBytes: number;
  /** Bytes that may wait. */
  readonly limitBytes: number;
}

/** RTM_NEWQDISC: the bucket as the device's only queue. */
export function encodeTokenBucket(link: number, bucket: TokenBucket): Buffer {
  const builder = tcmsg(link, TBF_HANDLE, TC_H_ROOT).attrString(TCA_KIND, 'tbf');
  builder.nest(TCA_OPTIONS, () => {
    builder.attrBytes(TCA_TBF.PARMS, tbfParameters(bucket));
    if (bucket.bytesPerSecond > MAX_U32) builder.attrU64(TCA_TBF.RATE64, BigInt(bucket.bytesPerSecond));
    builder.attrU32(TCA_TBF.BURST, bucket.burstBytes);
  });
  return builder.finish();
}

/** struct tc_tbf_qopt: two struct tc_ratespec, of which the second (a peak rate) is not used. */
function tbfParameters({ bytesPerSecond, limitBytes }: TokenBucket): Buffer {
  return new MessageBuilder(36)
    .bytes(Uint8Array.of(0, LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0))
    .u32(Math.min(bytesPerSecond, MAX_U32))
    .bytes(new Uint8Array(12))
    .u32(limitBytes)
    .u32(0)
    .u32(0)
    .finish();
}

/** RTM_DELQDISC: the device gets back the queue that it had by itself. */
export const encodeRootQueue = (link: number): Buffer => tcmsg(link, 0, TC_H_ROOT).finish();

/** RTM_NEWQDISC, RTM_DELQDISC: where filters of incoming packets hang. */
export const encodeIngressQueue = (link: number): Buffer =>
  tcmsg(link, INGRESS_HANDLE, TC_H_INGRESS).attrString(TCA_KIND, 'ingress').finish();

/** RTM_NEWTFILTER: whatever comes in by `link` leaves by `to` (and, if that is an ifb device, comes in afterwards). */
export function encodeRedirect(link: number, to: number): Buffer {
  const builder = tcmsg(link, 0, INGRESS_HANDLE, FILTER_INFO).attrString(TCA_KIND, 'u32');
  builder.nest(TCA_OPTIONS, () => {
    // One key without a bit: every packet. `matchall` would say it shorter, but kernels lack it more often.
    builder.attrU32(TCA_U32.CLASSID, 0x10001);
    builder.attrBytes(
      TCA_U32.SEL,
      new MessageBuilder(32)
        .bytes(Uint8Array.of(U32_TERMINAL, 0, 1))
        .bytes(new Uint8Array(13 + 16))
        .finish(),
    );
    builder.nest(TCA_U32.ACT, () => {
      builder.nest(1, () => writeMirred(builder, to));
    });
  });
  return builder.finish();
}

function writeMirred(builder: MessageBuilder, to: number): void {
  builder.attrString(TCA_ACT.KIND, 'mirred');
  builder.nest(TCA_ACT.OPTIONS, () => {
    // struct tc_mirred: tc_gen (index, capab, action, refcnt, bindcnt), eaction, ifindex.
    const parameters = new MessageBuilder(28).u32(0).u32(0).i32(TC_ACT_STOLEN).i32(0).i32(0);
    builder.attrBytes(TCA_MIRRED_PARMS, parameters.i32(TCA_EGRESS_REDIR).u32(to).finish());
  });
}

/** RTM_GETQDISC: of one device. */
export const encodeQueueQuery = (link: number): Buffer => tcmsg(link, 0, 0).finish();

/** RTM_GETTFILTER: those of incoming packets of one device. */
export const encodeFilterQuery = (link: number): Buffer => tcmsg(link, 0, INGRESS_HANDLE).finish();

export interface Queue {
  readonly link: number;
  readonly kind: string;
  readonly isRoot: boolean;
  /** Of a `tbf`; the burst is what the kernel's time for it makes at the rate, and may be a few bytes off. */
  readonly bucket: TokenBucket | undefined;
}

export function decodeQueue(body: Buffer): Queue {
  const attributes = Attributes.parse(body, TCMSG_LENGTH);
  const kind = attributes.string(TCA_KIND) ?? '';
  return {
    link: body.readInt32LE(4),
    kind,
    isRoot: body.readUInt32LE(12) === TC_H_ROOT,
    bucket: kind === 'tbf' ? decodeTokenBucket(attributes.nested(TCA_OPTIONS)) : undefined,
  };
}

function decodeTokenBucket(options: Attributes | undefined): TokenBucket | undefined {
  const parameters = options?.bytes(TCA_TBF.PARMS);
  if (parameters === undefined || parameters.length < 36) return undefined;
  const rate64 = options?.u64(TCA_TBF.RATE64);
  const bytesPerSecond = rate64 === undefined ? parameters.readUInt32LE(8) : Number(rate64);
  // PSCHED_SHIFT is 6: ticks of 64 ns.
  const burstSeconds = (parameters.readUInt32LE(28) * 64) / 1e9;
  return {
    bytesPerSecond,
    burstBytes: Math.round(burstSeconds * bytesPerSecond),
    limitBytes: parameters.readUInt32LE(24),
  };
}

/** Where a filter redirects to; undefined: it is none that does. */
export function decodeRedirect(body: Buffer): number | undefined {
  const options = Attributes.parse(body, TCMSG_LENGTH).nested(TCA_OPTIONS);
  const [action] = options?.list(TCA_U32.ACT) ?? [];
  if (action === undefined) return undefined;
  const attributes = Attributes.parse(action.value);
  const parameters = attributes.nested(TCA_ACT.OPTIONS)?.bytes(TCA_MIRRED_PARMS);
  if (attributes.string(TCA_ACT.KIND) !== 'mirred' || parameters === undefined || parameters.length < 28) {
    return undefined;
  }
  return parameters.readInt32LE(20) === TCA_EGRESS_REDIR ? parameters.readUInt32LE(24) : undefined;
}

const tcmsg = (link: number, handle: number, parent: number, info = 0): MessageBuilder =>
  new MessageBuilder().u32(0).i32(link).u32(handle).u32(parent).u32(info);
