import { writeExpressions } from './expression-codec.ts';
import { MessageBuilder, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST } from '../netlink/message.ts';
import { writeDefinition } from './definition-codec.ts';
import { writeElementList } from './element-codec.ts';
import { NFNL_SUBSYS_NFTABLES, nftMessageType, writeNfgen } from './nfgen.ts';
import {
  isElementsChange,
  type NftChainChange,
  type NftChange,
  type NftElementsChange,
  type NftOperation,
  type NftSetChange,
  type NftTableChange,
} from './objects.ts';

// Numbers from <linux/netfilter/nfnetlink.h>, <linux/netfilter/nf_tables.h> and <linux/netfilter.h>.
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
const NFT_MSG_NEWTABLE = 0;
export const NFT_MSG_GETTABLE = 1;
const NFT_MSG_DELTABLE = 2;
const NFT_MSG_NEWCHAIN = 3;
export const NFT_MSG_GETCHAIN = 4;
const NFT_MSG_NEWRULE = 6;
export const NFT_MSG_GETRULE = 7;
const NFT_MSG_DELRULE = 8;
const NFT_MSG_NEWSET = 9;
export const NFT_MSG_NEWSETELEM = 12;
export const NFT_MSG_GETSETELEM = 13;
const NFT_MSG_DELSETELEM = 14;
export const NFT_MSG_GETGEN = 16;
/** Since Linux 6.3; not yet in every distribution's header. */
const NFT_MSG_DESTROYSETELEM = 30;

const NFTA_TABLE_NAME = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_EXPRESSIONS = 4;
const NFTA_CHAIN_HOOK = 4;
const NFTA_CHAIN_TYPE = 7;
const NFTA_HOOK_HOOKNUM = 1;
const NFTA_HOOK_PRIORITY = 2;
const HOOKS = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;

const MESSAGE_TYPES: Readonly<Record<NftOperation, number>> = {
  add: NFT_MSG_NEWSETELEM,
  delete: NFT_MSG_DELSETELEM,
  destroy: NFT_MSG_DESTROYSETELEM,
};

/** Attribute lengths have 16 bits; an element takes well under 250 bytes. */
const ELEMENTS_PER_MESSAGE = 250;

export interface EncodedBatch {
  readonly bytes: Buffer;
  /** What each message is about, by its number from `firstSeq` on; undefined: begin and end. */
  readonly parts: readonly (BatchPart | undefined)[];
}

export interface BatchPart {
  readonly change: NftChange;
  /** Of the change's elements, those of this message. */
  readonly from: number;
  readonly to: number;
}

/** How many messages `encodeBatch` will make, begin and end included. */
export function countBatchMessages(changes: readonly NftChange[]): number {
  let count = 2;
  for (const change of changes) {
    if (isElementsChange(change)) count += Math.ceil(change.elements.length / ELEMENTS_PER_MESSAGE);
    else count += change.operation === 'write-chain' ? change.rules.length + 2 : 1;
  }
  return count;
}

/**
 * One transaction: NFNL_MSG_BATCH_BEGIN, the changes in their order (elements in messages of bounded size),
 * NFNL_MSG_BATCH_END. The last change's last message asks for an acknowledgement, which the kernel sends after the
 * commit.
 */
export function encodeBatch(changes: readonly NftChange[], firstSeq: number): EncodedBatch {
  const batch = new BatchWriter(changes, firstSeq);
  return batch.encode();
}

/** Elements of one set are about as long as the first. */
function estimateBytes(change: NftChange): number {
  if (change.operation === 'write-chain') return 256 + change.rules.length * 512;
  if (!isElementsChange(change)) return 256;
  const first = change.elements.at(0);
  const each = 32 + (first?.key.length ?? 0) + (first?.value?.length ?? 0);
  return change.elements.length * each + 64 * (1 + change.elements.length / ELEMENTS_PER_MESSAGE);
}

class BatchWriter {
  readonly #changes: readonly NftChange[];
  readonly #builder: MessageBuilder;
  readonly #parts: (BatchPart | undefined)[] = [undefined];
  readonly #lastSeq: number;
  readonly #firstSeq: number;

  constructor(changes: readonly NftChange[], firstSeq: number) {
    let size = 512;
    for (const change of changes) size += estimateBytes(change);
    this.#changes = changes;
    this.#builder = new MessageBuilder(Math.ceil(size));
    this.#firstSeq = firstSeq;
    this.#lastSeq = firstSeq + countBatchMessages(changes) - 2;
  }

  encode(): EncodedBatch {
    this.#control(NFNL_MSG_BATCH_BEGIN, this.#firstSeq);
    for (const change of this.#changes) {
      if (isElementsChange(change)) this.#elements(change);
      else if (change.operation === 'write-chain') this.#chain(change);
      else if (change.operation === 'add-set') this.#set(change);
      else this.#table(change);
    }
    this.#control(NFNL_MSG_BATCH_END, this.#lastSeq + 1);
    return { bytes: this.#builder.finish(), parts: this.#parts };
  }

  #control(type: number, seq: number): void {
    writeNfgen(this.#builder.begin(type, NLM_F_REQUEST, seq), undefined, NFNL_SUBSYS_NFTABLES).end();
  }

  #begin(operation: number, flags: number, part: BatchPart): MessageBuilder {
    const seq = this.#firstSeq + this.#parts.length;
    this.#parts.push(part);
    const ack = seq === this.#lastSeq ? NLM_F_ACK : 0;
    return this.#builder.begin(nftMessageType(operation), NLM_F_REQUEST | flags | ack, seq);
  }

  #elements(change: NftElementsChange): void {
    const { operation, set, elements } = change;
    const adding = operation === 'add';
    for (let from = 0; from < elements.length; from += ELEMENTS_PER_MESSAGE) {
      const to = Math.min(from + ELEMENTS_PER_MESSAGE, elements.length);
      this.#begin(MESSAGE_TYPES[operation], adding ? NLM_F_CREATE : 0, { change, from, to });
      writeElementList(this.#builder, set, elements, from, to, adding);
      this.#builder.end();
    }
  }

  #table(change: NftTableChange): void {
    const adding = change.operation === 'add-table';
    const part = { change, from: 0, to: 0 };
    const operation = adding ? NFT_MSG_NEWTABLE : NFT_MSG_DELTABLE;
    writeNfgen(this.#begin(operation, adding ? NLM_F_CREATE : 0, part), change.table.family)
      .attrString(NFTA_TABLE_NAME, change.table.name)
      .end();
  }

  #set(change: NftSetChange): void {
    // The number only has to be there and be another for each set of the batch.
    const id = this.#parts.length;
    this.#begin(NFT_MSG_NEWSET, NLM_F_CREATE, { change, from: 0, to: 0 });
    writeDefinition(this.#builder, change, id);
    this.#builder.end();
  }

  #chain(change: NftChainChange): void {
    const { table, chain, rules, hook } = change;
    const part = { change, from: 0, to: 0 };
    const named = (operation: number, flags: number, nameType: number): MessageBuilder =>
      writeNfgen(this.#begin(operation, flags, part), table.family)
        .attrString(NFTA_RULE_TABLE, table.name)
        .attrString(nameType, chain);
    named(NFT_MSG_NEWCHAIN, NLM_F_CREATE, NFTA_CHAIN_NAME);
    if (hook !== undefined) {
      this.#builder
        .nest(NFTA_CHAIN_HOOK, (nest) => {
          nest.attrU32be(NFTA_HOOK_HOOKNUM, HOOKS[hook.hook]).attrU32be(NFTA_HOOK_PRIORITY, hook.priority);
        })
        .attrString(NFTA_CHAIN_TYPE, hook.type);
    }
    this.#builder.end();
    // Without a handle: all rules of the chain.
    named(NFT_MSG_DELRULE, 0, NFTA_RULE_CHAIN).end();
    for (const rule of rules) {
      named(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, NFTA_RULE_CHAIN)
        .nest(NFTA_RULE_EXPRESSIONS, (list) => writeExpressions(list, rule))
        .end();
    }
  }
}
