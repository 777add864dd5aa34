import { readFile, rm } from 'node:fs/promises';
import * as z from 'zod';
import { installFile } from '../cni/installation.ts';
import { FlatnetError, describeError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import type { Backend } from '../podnet/backends/backend.ts';
import { changeKind, describeBackend } from '../podnet/backends/change-plan.ts';
import type { EntryDriver } from '../podnet/backends/entry-driver.ts';
import type { OpenedBackend } from '../podnet/backends/open-backend.ts';
import { writeBackendSettings } from '../podnet/backends/write-settings.ts';
import { backendSchema, type BackendSettings } from '../podnet/network-config.ts';
import type { Ways } from '../podnet/pod-network.ts';

export interface BackendRolloutOptions {
  readonly open: (settings: BackendSettings) => Promise<OpenedBackend>;
  /** Where the stage is kept, so that a restart in the middle of a change goes on with it. */
  readonly path: string;
  readonly logger: Logger;
}

/**
 * `settled`: one backend. `preparing`: the devices of the new one are being set up, nobody knows of it. `offered`:
 * peers are told and may send by it. `switched`: this node sends by it to every peer that has it.
 */
export type Stage = 'settled' | 'preparing' | 'offered' | 'switched';

interface Member {
  readonly settings: BackendSettings;
  readonly backend: Backend;
}

/** What the rollout has to see of the world to go on. */
export interface Seen {
  /** Whether the store holds the publication in which the new backend is the first. */
  readonly isPublished: boolean;
  /** How many nodes are not reached by the wanted backend. */
  readonly awaited: number;
  /** How many nodes may still send to this one by a former backend. */
  readonly unmet: number;
  /** Milliseconds of a clock that does not jump. */
  readonly now: number;
}

/** From when the store has the offer until this node sends by it: peers set up their receiving ends meanwhile. */
export const GRACE_MS = 1500;
/** From when every pair of nodes uses the new backend until the old one goes: what is on its way arrives. */
export const RETIRE_MS = 5000;

/** What peers read of a node's offers. A configuration that changes faster than the nodes follow is not followed. */
const MOST_BACKENDS = 8;

const stateSchema = z.object({
  stage: z.enum(['settled', 'preparing', 'offered', 'switched']),
  backends: z.array(backendSchema).min(1).max(MOST_BACKENDS),
});

/**
 * The backends of this node, the wanted one first. A change sets the new one up beside the old one, offers both, and
 * takes the old one away when no peer needs it any more: at every moment each pair of nodes has a way in common, in
 * whatever order nodes change, so no node has to wait for its turn.
 */
export class BackendRollout {
  readonly #options: BackendRolloutOptions;
  /** By type: a backend that is opened anew brings drivers that take the place of the former. */
  readonly #drivers = new Map<string, readonly EntryDriver[]>();
  #members: readonly Member[] = [];
  #stage: Stage = 'settled';
  /** Since when the condition of the next stage holds. */
  #since: number | undefined;
  #refused: FlatnetError | undefined;
  /** Whether the file still tells of former backends that are about to be taken away. */
  #isUnsaved = false;

  private constructor(options: BackendRolloutOptions) {
    this.#options = options;
  }

  /** Goes on where an earlier run was; a configuration that is another one by now is changed to. */
  static async open(settings: BackendSettings, options: BackendRolloutOptions): Promise<BackendRollout> {
    const rollout = new BackendRollout(options);
    const left = await readState(options);
    if (left !== undefined) await rollout.#restore(left);
    if (rollout.#members.length === 0) {
      rollout.#members = [await rollout.#open(settings)];
      await rollout.#save();
    } else await rollout.change(settings);
    return rollout;
  }

  get stage(): Stage {
    return this.#stage;
  }

  /** The backend that is wanted. */
  get wanted(): Backend {
    return this.#first.backend;
  }

  get settings(): readonly BackendSettings[] {
    return this.#members.map(({ settings }) => settings);
  }

  /** Why the configured backend is not changed to; undefined when it is. */
  get refused(): FlatnetError | undefined {
    return this.#refused;
  }

  /** What the pod network works with. The drivers of former backends stay: their devices have to be taken away. */
  get ways(): Ways {
    const held = this.#stage === 'preparing' || this.#stage === 'offered';
    return {
      backends: this.#members.map(({ backend }) => backend),
      drivers: [...this.#drivers.values()].flat(),
      ...(held && this.#members.length > 1 ? { held: this.wanted } : {}),
    };
  }

  /** Whether nothing is sent by a former backend any more, when so many nodes are not reached by the wanted one. */
  hasMet(awaited: number): boolean {
    return this.#stage === 'settled' || (this.#stage === 'switched' && awaited === 0);
  }

  /** What peers are told. */
  get offered(): readonly [Backend, ...Backend[]] {
    const [first, ...former] = this.#members.map(({ backend }) => backend);
    const told =
      this.#stage === 'preparing' && former.length > 0 ? former : [first ?? this.wanted, ...former];
    return told as [Backend, ...Backend[]];
  }

  /** Begins to change to `settings`. One that cannot be changed to is told in `refused`, and nothing changes. */
  async change(settings: BackendSettings): Promise<void> {
    this.#refused = undefined;
    try {
      await this.#begin(settings);
    } catch (error) {
      this.refuse(error, settings);
    }
  }

  /** Keeps what there is, and says why. */
  refuse(error: unknown, settings: BackendSettings): void {
    this.#refused = new FlatnetError(
      `the backend stays ${describeBackend(this.#first.settings)}, ${describeBackend(settings)} is not changed to: ${describeError(error)}`,
      { code: 'CHANGE_REFUSED', cause: error },
    );
    this.#options.logger.error({ error: this.#refused.message }, 'change of backend refused');
  }

  async #begin(settings: BackendSettings): Promise<void> {
    const index = this.#members.findIndex((member) => isKin(member.settings, settings));
    const known = this.#members[index];
    const kind = known === undefined ? 'beside' : changeKind(known.settings, settings);
    if (known === undefined) {
      if (this.#members.length >= MOST_BACKENDS) {
        throw new FlatnetError(`${MOST_BACKENDS} backends are in use already: ${this.#names().join(', ')}`, {
          code: 'CHANGE_REFUSED',
          hint: 'nodes still need the former ones: flatnet podnet status shows which have not followed',
        });
      }
      const added = await this.#open(settings);
      this.#members = [added, ...this.#members];
      await this.#enter('preparing');
      return;
    }
    if (kind === 'none' && index === 0) return;
    const renewed = kind === 'none' ? known : await this.#open(settings);
    this.#members = [renewed, ...this.#members.filter((member) => member !== known)];
    if (index !== 0) await this.#enter('switched');
    else await this.#save();
  }

  /** The devices of the new backend stand. */
  async prepared(): Promise<void> {
    if (this.#stage === 'preparing') await this.#enter('offered');
  }

  /** The new backend cannot be set up here: back to what there was. */
  async abandon(error: unknown): Promise<void> {
    const [failed, ...former] = this.#members;
    if (this.#stage !== 'preparing' || failed === undefined || former.length === 0) return;
    this.#members = former;
    this.refuse(error, failed.settings);
    await this.#enter(former.length > 1 ? 'switched' : 'settled');
  }

  /** Goes on to the next stage when it is time. Returns whether it has, and else when to look again. */
  async advance({ isPublished, awaited, unmet, now }: Seen): Promise<{ moved: boolean; againInMs?: number }> {
    if (this.#isUnsaved) await this.#save();
    const waiting = {
      offered: isPublished,
      switched: awaited + unmet === 0,
      preparing: false,
      settled: false,
    };
    if (!waiting[this.#stage]) {
      this.#since = undefined;
      return { moved: false };
    }
    this.#since ??= now;
    const left = this.#since + (this.#stage === 'offered' ? GRACE_MS : RETIRE_MS) - now;
    if (left > 0) return { moved: false, againInMs: left };
    if (this.#stage === 'offered') await this.#enter('switched');
    else {
      this.#members = [this.#first];
      // Written down at the next look, when the former ones are gone: an agent that is killed before takes them away then.
      this.#isUnsaved = true;
      this.#enterUnsaved('settled');
    }
    return { moved: true };
  }

  async #enter(stage: Stage): Promise<void> {
    this.#enterUnsaved(stage);
    await this.#save();
  }

  #enterUnsaved(stage: Stage): void {
    this.#stage = stage;
    this.#since = undefined;
    this.#options.logger.info({ stage, backends: this.#names() }, 'change of backend');
  }

  #names(): string[] {
    return this.#members.map(({ backend }) => backend.name);
  }

  /** Readable by root alone: a preshared key may be in it. */
  async #save(): Promise<void> {
    const backends = this.settings.map((settings) => writeBackendSettings(settings, { secrets: true }));
    await installFile(this.#options.path, `${JSON.stringify({ stage: this.#stage, backends })}\n`, 0o600);
    this.#isUnsaved = false;
  }

  async #restore({ stage, backends }: z.output<typeof stateSchema>): Promise<void> {
    try {
      const members: Member[] = [];
      for (const settings of backends) members.push(await this.#open(settings));
      this.#members = members;
      this.#stage = stage;
    } catch (error) {
      const told = { error: describeError(error) };
      this.#options.logger.warn(told, 'cannot go on with the backends of the run before');
      await rm(this.#options.path, { force: true });
    }
  }

  async #open(settings: BackendSettings): Promise<Member> {
    const { backend, drivers } = await this.#options.open(settings);
    this.#drivers.set(settings.type, drivers);
    return { settings, backend };
  }

  get #first(): Member {
    const [first] = this.#members;
    if (first === undefined) throw new Error('a node has at least one backend');
    return first;
  }
}

/** Whether one takes the place of the other, in place or not at all. Throws CHANGE_REFUSED. */
function isKin(a: BackendSettings, b: BackendSettings): boolean {
  return changeKind(a, b) !== 'beside';
}

async function readState({
  path,
  logger,
}: BackendRolloutOptions): Promise<z.output<typeof stateSchema> | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return stateSchema.parse(JSON.parse(text));
  } catch (error) {
    logger.warn({ path, error: describeError(error) }, 'the state of the run before cannot be read');
    return undefined;
  }
}
