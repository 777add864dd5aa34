import { FlatnetError } from '../../errors/flatnet-error.ts';
import { run } from '../exec/run.ts';
import { Attributes, MessageBuilder } from '../netlink/message.ts';
import { ackError, NETLINK_NETFILTER, NetlinkSocket, type BatchAnswer } from '../netlink/socket.ts';
import {
  countBatchMessages,
  encodeBatch,
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETGEN,
  NFT_MSG_GETRULE,
  NFT_MSG_GETSETELEM,
  NFT_MSG_GETTABLE,
  type BatchPart,
  type EncodedBatch,
} from './codec.ts';
import { decodeElements, writeElementList } from './element-codec.ts';
import { watchTables } from './events.ts';
import { nftMessageType, writeNfgen } from './nfgen.ts';
import {
  isElementsChange,
  setName,
  tableName,
  type NftChange,
  type NftElement,
  type NftForeignChange,
  type NftKernel,
  type NftSet,
  type NftTable,
} from './objects.ts';

const NFTA_TABLE_NAME = 1;
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_GEN_ID = 1;
/** A transaction that collides with another one is refused with EAGAIN or EINTR and simply tried again. */
const COMMIT_ATTEMPTS = 5;
const READ_ATTEMPTS = 20;

export interface NftSocketOptions {
  /** Descriptor of the network namespace; the caller's own when absent. */
  readonly netns?: number;
}

/** nf_tables of one network namespace, over nfnetlink. */
export class NftSocket implements NftKernel {
  readonly #socket: NetlinkSocket;
  readonly #netns: number | undefined;

  private constructor(socket: NetlinkSocket, netns: number | undefined) {
    this.#socket = socket;
    this.#netns = netns;
  }

  static open(options: NftSocketOptions = {}): NftSocket {
    const netns = options.netns === undefined ? {} : { netns: options.netns };
    return new NftSocket(NetlinkSocket.open(NETLINK_NETFILTER, netns), options.netns);
  }

  commit(changes: readonly NftChange[]): boolean {
    const wanted = worthTelling(changes);
    if (wanted.length === 0) return false;
    for (let attempt = 1; ; attempt += 1) {
      const batch = this.#encode(wanted);
      const refusal = refusalOf(batch, this.#socket.sendBatch(batch.bytes, DOING));
      if (refusal === undefined) return true;
      if (!isCollision(refusal) || attempt === COMMIT_ATTEMPTS) throw refusal;
    }
  }

  async commitAside(changes: readonly NftChange[]): Promise<boolean> {
    const wanted = worthTelling(changes);
    if (wanted.length === 0) return false;
    for (let attempt = 1; ; attempt += 1) {
      const batch = this.#encode(wanted);
      const refusal = refusalOf(batch, await this.#socket.sendBatchElsewhere(batch.bytes, DOING));
      if (refusal === undefined) return true;
      if (!isCollision(refusal) || attempt === COMMIT_ATTEMPTS) throw refusal;
    }
  }

  elements(set: NftSet): NftElement[] {
    for (let attempt = 1; ; attempt += 1) {
      const found = this.#readOnce(set);
      // The kernel reads a hash table in parts, each from where the last one ended. If the table grows meanwhile (it
      // does so in the background, after many elements were added) the order changes: some elements come twice, and
      // as many not at all.
      if (new Set(found.map(({ key }) => key)).size === found.length) return found;
      if (attempt === READ_ATTEMPTS) {
        throw new FlatnetError(`read set ${setName(set)}: it changed its order again and again`, {
          code: 'EAGAIN',
          retryable: true,
        });
      }
    }
  }

  has(set: NftSet, element: NftElement): boolean {
    const body = new MessageBuilder(256);
    writeElementList(body, set, [element], 0, 1, false);
    const request = { type: nftMessageType(NFT_MSG_GETSETELEM), body: body.finish() };
    try {
      const found: NftElement[] = [];
      for (const message of this.#socket.request(request, `read an element of set ${setName(set)}`)) {
        decodeElements(message.body, set.kind, found);
      }
      return found.some((other) => other.key === element.key && other.value === element.value);
    } catch (error) {
      if (error instanceof FlatnetError && error.code === 'ENOENT') return false;
      throw error;
    }
  }

  hasTable(table: NftTable): boolean {
    const body = writeNfgen(new MessageBuilder(64), table.family).attrString(NFTA_TABLE_NAME, table.name);
    const request = { type: nftMessageType(NFT_MSG_GETTABLE), body: body.finish() };
    try {
      return this.#socket.request(request, `look for table ${tableName(table)}`).length > 0;
    } catch (error) {
      if (error instanceof FlatnetError && error.code === 'ENOENT') return false;
      throw error;
    }
  }

  chains(table: NftTable): string[] | undefined {
    // The dump has no filter by table before Linux 6.9: those of other tables are passed over here.
    const body = writeNfgen(new MessageBuilder(64), table.family);
    const names = this.#listNames(NFT_MSG_GETCHAIN, body, table, NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME);
    return names.length === 0 ? undefined : names;
  }

  ruleCounts(table: NftTable): ReadonlyMap<string, number> {
    const body = writeNfgen(new MessageBuilder(64), table.family).attrString(NFTA_RULE_TABLE, table.name);
    const counts = new Map<string, number>();
    for (const chain of this.#listNames(NFT_MSG_GETRULE, body, table, NFTA_RULE_TABLE, NFTA_RULE_CHAIN)) {
      counts.set(chain, (counts.get(chain) ?? 0) + 1);
    }
    return counts;
  }

  generation(): number {
    const body = writeNfgen(new MessageBuilder(16), undefined).finish();
    const request = { type: nftMessageType(NFT_MSG_GETGEN), body };
    const [answer] = this.#socket.request(request, 'read the generation of nf_tables');
    return answer === undefined ? 0 : (Attributes.parse(answer.body, 4).u32be(NFTA_GEN_ID) ?? 0);
  }

  async load(ruleset: string): Promise<void> {
    const netns = this.#netns === undefined ? {} : { netns: this.#netns };
    await run('nft', ['-f', '-'], { input: ruleset, ...netns });
  }

  watch(tables: readonly NftTable[], changed: (what: NftForeignChange) => void): () => void {
    return watchTables({ tables, netns: this.#netns, own: this.#socket.portId(), changed });
  }

  close(): void {
    this.#socket.close();
  }

  /** One name for each object of a table that a dump tells. */
  #listNames(
    operation: number,
    body: MessageBuilder,
    table: NftTable,
    tableAttribute: number,
    nameAttribute: number,
  ): string[] {
    const request = { type: nftMessageType(operation), body: body.finish() };
    const names: string[] = [];
    for (const message of this.#socket.dump(request, `list table ${table.family} ${table.name}`)) {
      const attributes = Attributes.parse(message.body, 4);
      if (attributes.string(tableAttribute) === table.name)
        names.push(attributes.string(nameAttribute) ?? '');
    }
    return names;
  }

  #readOnce(set: NftSet): NftElement[] {
    const body = new MessageBuilder(64);
    writeElementList(body, set, [], 0, 0, false);
    const found: NftElement[] = [];
    const request = { type: nftMessageType(NFT_MSG_GETSETELEM), body: body.finish() };
    for (const message of this.#socket.dump(request, `read set ${setName(set)}`)) {
      decodeElements(message.body, set.kind, found);
    }
    return found;
  }

  #encode(changes: readonly NftChange[]): NumberedBatch {
    const firstSeq = this.#socket.reserveSequence(countBatchMessages(changes));
    return { ...encodeBatch(changes, firstSeq), firstSeq };
  }
}

interface NumberedBatch extends EncodedBatch {
  readonly firstSeq: number;
}

const DOING = 'program nftables';

function worthTelling(changes: readonly NftChange[]): NftChange[] {
  return changes.filter((change) => !isElementsChange(change) || change.elements.length > 0);
}

/** With another transaction. */
function isCollision({ code }: FlatnetError): boolean {
  return code === 'EAGAIN' || code === 'EINTR';
}

function refusalOf(batch: NumberedBatch, { acks, overrun }: BatchAnswer): FlatnetError | undefined {
  const failed = acks.find((ack) => ack.errno !== 0);
  if (failed !== undefined) return ackError(describePart(batch.parts[failed.seq - batch.firstSeq]), failed);
  if (acks.length > 0) return undefined;
  return new FlatnetError(`${DOING}: the kernel did not acknowledge the transaction`, {
    code: overrun ? 'ENOBUFS' : 'EPROTO',
    retryable: true,
  });
}

function describePart(part: BatchPart | undefined): string {
  if (part === undefined) return 'commit to nftables';
  const { change, from, to } = part;
  if (change.operation === 'write-chain') return `write chain ${tableName(change.table)} ${change.chain}`;
  if (change.operation === 'add-set') return `make set ${setName(change.set)}`;
  if (!isElementsChange(change)) {
    return `${change.operation === 'add-table' ? 'make' : 'delete'} table ${tableName(change.table)}`;
  }
  const key = Buffer.from(change.elements.at(from)?.key ?? '', 'latin1').toString('hex');
  const which = to - from === 1 ? `element 0x${key}` : `${to - from} elements from 0x${key} on`;
  return `${change.operation} ${which} in set ${setName(change.set)}`;
}
