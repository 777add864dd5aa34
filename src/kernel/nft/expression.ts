import type { MessageBuilder } from '../netlink/message.ts';

// Expressions of a rule as the kernel takes them (<linux/netfilter/nf_tables.h>), those that are needed where nft's
// own language cannot say it: nft 1.0 refuses `numgen` in the key of a map declared by `type`, and forgets the type
// of maps declared by `typeof` when they are used a second time.

const REG_VERDICT = 0;
const REG32_00 = 8;

const PAYLOAD_BASES = { network: 1, transport: 2 } as const;
const META_KEYS = { mark: 3, l4proto: 16 } as const;
const CT_KEYS = {
  'proto-dst': 12,
  'ip saddr': 19,
  'ip daddr': 20,
  'ip6 saddr': 21,
  'ip6 daddr': 22,
} as const;
const CT_DIRECTION_ORIGINAL = 0;
const NUMGEN_RANDOM = 1;
const NAT_DNAT = 1;
const DYNSET_UPDATE = 1;
const VERDICT_GOTO = 0xfffffffc;
const NATIVE_FAMILIES = { ip: 2, ip6: 10 } as const;

/** `register` counts 32-bit registers from 0 to 15; a value takes as many as its length needs. */
export type NftExpression =
  | {
      readonly load: 'payload';
      readonly base: keyof typeof PAYLOAD_BASES;
      readonly offset: number;
      readonly length: number;
      readonly register: number;
    }
  | { readonly load: 'meta'; readonly key: keyof typeof META_KEYS; readonly register: number }
  /** Of the connection's original direction. */
  | { readonly load: 'ct'; readonly key: keyof typeof CT_KEYS; readonly register: number }
  | { readonly load: 'random'; readonly modulus: number; readonly register: number }
  /** Ends the rule when the map does not have the key. */
  | { readonly load: 'map'; readonly map: string; readonly key: number; readonly register: number }
  | { readonly statement: 'set-mark'; readonly register: number }
  | { readonly statement: 'set-mark-bits'; readonly bits: number }
  | {
      readonly statement: 'update';
      readonly map: string;
      readonly key: number;
      readonly data: number;
      readonly timeoutSeconds: number;
    }
  | {
      readonly statement: 'dnat';
      readonly family: keyof typeof NATIVE_FAMILIES;
      readonly address: number;
      readonly port: number;
    }
  | { readonly statement: 'goto'; readonly chain: string }
  /** Goes where the verdict map says; ends the rule when it does not have the key. */
  | { readonly statement: 'vmap'; readonly map: string; readonly key: number };

const NFTA_LIST_ELEM = 1;
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;
const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;

const register = (number: number): number => REG32_00 + number;

/** The list of NFTA_RULE_EXPRESSIONS, without its own header. */
export function writeExpressions(builder: MessageBuilder, expressions: readonly NftExpression[]): void {
  for (const expression of expressions) {
    if ('load' in expression) writeLoad(builder, expression);
    else writeStatement(builder, expression);
  }
}

function element(builder: MessageBuilder, name: string, fill: (builder: MessageBuilder) => void): void {
  const mark = builder.beginNest(NFTA_LIST_ELEM);
  builder.attrString(NFTA_EXPR_NAME, name).nest(NFTA_EXPR_DATA, fill).endNest(mark);
}

function writeLoad(builder: MessageBuilder, load: Extract<NftExpression, { load: string }>): void {
  const into = register(load.register);
  switch (load.load) {
    case 'payload':
      return element(builder, 'payload', (data) => {
        data.attrU32be(1, into).attrU32be(2, PAYLOAD_BASES[load.base]);
        data.attrU32be(3, load.offset).attrU32be(4, load.length);
      });
    case 'meta':
      return element(builder, 'meta', (data) => data.attrU32be(2, META_KEYS[load.key]).attrU32be(1, into));
    case 'ct':
      return element(builder, 'ct', (data) => {
        data.attrU32be(2, CT_KEYS[load.key]).attrU32be(1, into).attrU8(3, CT_DIRECTION_ORIGINAL);
      });
    case 'random':
      return element(builder, 'numgen', (data) => {
        data.attrU32be(1, into).attrU32be(2, load.modulus).attrU32be(3, NUMGEN_RANDOM).attrU32be(4, 0);
      });
    case 'map':
      return element(builder, 'lookup', (data) => {
        data.attrString(1, load.map).attrU32be(2, register(load.key)).attrU32be(3, into);
      });
  }
}

function writeStatement(
  builder: MessageBuilder,
  statement: Extract<NftExpression, { statement: string }>,
): void {
  switch (statement.statement) {
    case 'set-mark':
      return element(builder, 'meta', (data) => {
        data.attrU32be(2, META_KEYS.mark).attrU32be(3, register(statement.register));
      });
    case 'set-mark-bits':
      return writeSetMarkBits(builder, statement.bits);
    case 'update':
      return element(builder, 'dynset', (data) => {
        data.attrString(1, statement.map).attrU32be(3, DYNSET_UPDATE).attrU32be(4, register(statement.key));
        data.attrU32be(5, register(statement.data)).attrU64be(6, BigInt(statement.timeoutSeconds) * 1000n);
      });
    case 'dnat':
      return element(builder, 'nat', (data) => {
        data.attrU32be(1, NAT_DNAT).attrU32be(2, NATIVE_FAMILIES[statement.family]);
        data.attrU32be(3, register(statement.address)).attrU32be(5, register(statement.port));
      });
    case 'vmap':
      return element(builder, 'lookup', (data) => {
        data.attrString(1, statement.map).attrU32be(2, register(statement.key)).attrU32be(3, REG_VERDICT);
      });
    case 'goto':
      return element(builder, 'immediate', (data) => {
        data.attrU32be(1, REG_VERDICT).nest(2, (value) => {
          value.nest(NFTA_DATA_VERDICT, (verdict) =>
            verdict.attrU32be(1, VERDICT_GOTO).attrString(2, statement.chain),
          );
        });
      });
  }
}

const hostOrder = (number: number): Uint8Array => new Uint8Array(Uint32Array.of(number).buffer);

/** The kernel computes (value & mask) ^ xor, in host order. */
function writeBitwise(builder: MessageBuilder, into: number, mask: number, xor: number): void {
  element(builder, 'bitwise', (data) => {
    data.attrU32be(1, into).attrU32be(2, into).attrU32be(3, 4);
    data.nest(4, (nest) => nest.attrBytes(NFTA_DATA_VALUE, hostOrder(mask)));
    data.nest(5, (nest) => nest.attrBytes(NFTA_DATA_VALUE, hostOrder(xor)));
  });
}

/** `meta mark set meta mark | bits`. */
function writeSetMarkBits(builder: MessageBuilder, bits: number): void {
  writeLoad(builder, { load: 'meta', key: 'mark', register: 0 });
  writeBitwise(builder, register(0), ~bits >>> 0, bits);
  writeStatement(builder, { statement: 'set-mark', register: 0 });
}
