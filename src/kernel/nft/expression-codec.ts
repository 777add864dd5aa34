import type { MessageBuilder } from '../netlink/message.ts';
import type { NftExpression, NftLoad, NftMatch, NftStatement } from './expression.ts';

// Numbers from <linux/netfilter/nf_tables.h>.
const REG_VERDICT = 0;
const REG32_00 = 8;
const PAYLOAD_BASES = { network: 1, transport: 2 } as const;
const META_KEYS = { mark: 3, iifname: 6, l4proto: 16 } as const;
const CT_KEYS = { state: 0, status: 2 } as const;
const FIB_RESULT_ADDRTYPE = 3;
const FIB_FLAGS = { source: 1, destination: 2 } as const;
const NUMGEN_RANDOM = 1;
const CMP_OPERATORS = { '==': 0, '!=': 1 } as const;
const LOOKUP_INVERTED = 1;
const NAT_DNAT = 1;
const DYNSET_UPDATE = 1;
const DYNSET_DELETE = 2;
/** NF_NAT_RANGE_PROTO_RANDOM_FULLY of <linux/netfilter/nf_nat.h>. */
const MASQUERADE_RANDOM_FULLY = 16;
const REJECT_ICMP_UNREACHABLE = 0;
const REJECT_TCP_RESET = 1;
/** ICMP_PORT_UNREACH and ICMPV6_PORT_UNREACH. */
const PORT_UNREACHABLE = { ip: 3, ip6: 4 } as const;
const VERDICTS = { drop: 0, accept: 1, jump: 0xfffffffd, goto: 0xfffffffc } as const;
const NATIVE_FAMILIES = { ip: 2, ip6: 10 } as const;

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
    else if ('match' in expression) writeMatch(builder, expression);
    else writeStatement(builder, expression);
  }
}

function element(builder: MessageBuilder, name: string, fill: (builder: MessageBuilder) => void): void {
  const mark = builder.beginNest(NFTA_LIST_ELEM);
  builder.attrString(NFTA_EXPR_NAME, name).nest(NFTA_EXPR_DATA, fill).endNest(mark);
}

function bytes(builder: MessageBuilder, type: number, value: string): void {
  builder.nest(type, (nest) => nest.attrBytes(NFTA_DATA_VALUE, Buffer.from(value, 'latin1')));
}

function writeLoad(builder: MessageBuilder, load: NftLoad): void {
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
      return element(builder, 'ct', (data) => data.attrU32be(2, CT_KEYS[load.key]).attrU32be(1, into));
    case 'fib':
      return element(builder, 'fib', (data) => {
        data.attrU32be(1, into).attrU32be(2, FIB_RESULT_ADDRTYPE).attrU32be(3, FIB_FLAGS[load.of]);
      });
    case 'random':
      return element(builder, 'numgen', (data) => {
        data.attrU32be(1, into).attrU32be(2, load.modulus).attrU32be(3, NUMGEN_RANDOM).attrU32be(4, 0);
      });
    case 'map':
      return element(builder, 'lookup', (data) => {
        data.attrString(1, load.map).attrU32be(2, register(load.key)).attrU32be(3, into);
      });
    case 'bitwise':
      return element(builder, 'bitwise', (data) => {
        data.attrU32be(1, register(load.from)).attrU32be(2, into).attrU32be(3, load.mask.length);
        bytes(data, 4, load.mask);
        bytes(data, 5, load.xor);
      });
  }
}

function writeMatch(builder: MessageBuilder, match: NftMatch): void {
  if (match.match === 'bytes') {
    element(builder, 'cmp', (data) => {
      data.attrU32be(1, register(match.register)).attrU32be(2, CMP_OPERATORS[match.operator]);
      bytes(data, 3, match.bytes);
    });
    return;
  }
  element(builder, 'lookup', (data) => {
    data.attrString(1, match.set).attrU32be(2, register(match.key));
    if (match.negated === true) data.attrU32be(5, LOOKUP_INVERTED);
  });
}

function writeStatement(builder: MessageBuilder, statement: NftStatement): void {
  switch (statement.statement) {
    case 'set-mark':
      return element(builder, 'meta', (data) => {
        data.attrU32be(2, META_KEYS.mark).attrU32be(3, register(statement.register));
      });
    case 'update':
      return element(builder, 'dynset', (data) => {
        data.attrString(1, statement.map).attrU32be(3, DYNSET_UPDATE).attrU32be(4, register(statement.key));
        data.attrU32be(5, register(statement.data)).attrU64be(6, BigInt(statement.timeoutSeconds) * 1000n);
      });
    case 'forget':
      return element(builder, 'dynset', (data) => {
        data.attrString(1, statement.map).attrU32be(3, DYNSET_DELETE).attrU32be(4, register(statement.key));
        data.attrU32be(5, register(statement.data));
      });
    case 'dnat':
      return element(builder, 'nat', (data) => {
        data.attrU32be(1, NAT_DNAT).attrU32be(2, NATIVE_FAMILIES[statement.family]);
        data.attrU32be(3, register(statement.address)).attrU32be(5, register(statement.port));
      });
    case 'masquerade':
      return element(builder, 'masq', (data) => data.attrU32be(1, MASQUERADE_RANDOM_FULLY));
    case 'reject':
      return element(builder, 'reject', (data) => {
        if (statement.by === 'tcp-reset') data.attrU32be(1, REJECT_TCP_RESET).attrU8(2, 0);
        else data.attrU32be(1, REJECT_ICMP_UNREACHABLE).attrU8(2, PORT_UNREACHABLE[statement.family]);
      });
    case 'vmap':
      return element(builder, 'lookup', (data) => {
        data.attrString(1, statement.map).attrU32be(2, register(statement.key)).attrU32be(3, REG_VERDICT);
      });
    case 'accept':
    case 'drop':
      return writeVerdict(builder, statement.statement);
    case 'goto':
    case 'jump':
      return writeVerdict(builder, statement.statement, statement.chain);
  }
}

function writeVerdict(builder: MessageBuilder, verdict: keyof typeof VERDICTS, chain?: string): void {
  element(builder, 'immediate', (data) => {
    data.attrU32be(1, REG_VERDICT).nest(2, (value) => {
      value.nest(NFTA_DATA_VERDICT, (nest) => {
        nest.attrU32be(1, VERDICTS[verdict]);
        if (chain !== undefined) nest.attrString(2, chain);
      });
    });
  });
}
