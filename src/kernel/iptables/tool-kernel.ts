import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { IpFamily } from '../../net/ip.ts';
import { CommandError, run } from '../exec/run.ts';
import { formatRule, SET_OPTION } from './format-rule.ts';
import { NftAlterations } from './nft-alterations.ts';
import {
  TABLES,
  type IptablesChange,
  type IptablesKernel,
  type IptablesVariant,
  type ObservedTable,
  type ObservedTables,
  type TableName,
} from './objects.ts';
import { restoreText } from './restore-text.ts';
import type { IptablesRule } from './rule.ts';
import { observedText, observedTexts } from './save-text.ts';
import { inSections } from './sections.ts';

/** A whole cluster takes a while; other programs may hold the lock. */
const TIMEOUT_MS = 600_000;
/** What the tool waits for the lock that every iptables program takes, in seconds. */
const LOCK_SECONDS = '30';

export interface ToolOptions {
  readonly family: IpFamily;
  readonly variant: IptablesVariant;
  /** Descriptor of the network namespace; the caller's own when absent. */
  readonly netns?: number | undefined;
}

/** iptables through its own programs: iptables-save and iptables-restore of one variant. */
export class ToolIptables implements IptablesKernel {
  readonly family: IpFamily;
  readonly variant: IptablesVariant;
  readonly randomFully: boolean;
  readonly #options: ToolOptions;

  /** Only nf_tables tells what others do. */
  readonly #alterations: NftAlterations | undefined;

  private constructor(options: ToolOptions, randomFully: boolean) {
    this.family = options.family;
    this.variant = options.variant;
    this.#options = options;
    this.randomFully = randomFully;
    this.#alterations =
      options.variant === 'nft' ? NftAlterations.open(options.family, options.netns) : undefined;
  }

  /** Throws IPTABLES_MISSING where the programs of this variant are not installed. */
  static async open(options: ToolOptions): Promise<ToolIptables> {
    const version = await toolVersion(options);
    return new ToolIptables(options, atLeast(version, [1, 6, 2]));
  }

  key(rule: IptablesRule): string {
    return formatRule(rule, this.family);
  }

  looksAtSets(key: string): boolean {
    return SET_OPTION.test(key);
  }

  async read(table: TableName): Promise<ObservedTable> {
    // What is read first shall not be told later as changed.
    if (table === TABLES[0]) this.#alterations?.forget();
    return observedText(await this.save(table), table);
  }

  async readAll(): Promise<ObservedTables> {
    if (this.variant === 'legacy') {
      const [mangle, nat] = [await this.read('mangle'), await this.read('nat')];
      return { mangle, nat, filter: await this.read('filter') };
    }
    this.#alterations?.forget();
    // Asked for one table, iptables-nft-save has the kernel list all of them anyway.
    return observedTexts(await this.#run('-save', []));
  }

  async probe(): Promise<void> {
    await this.#run('', ['--wait', LOCK_SECONDS, '-t', 'mangle', '-S', 'PREROUTING', '1']);
  }

  async apply(changes: readonly IptablesChange[]): Promise<void> {
    if (changes.length === 0) return;
    const sections = this.variant === 'nft' ? inSections(changes) : [changes];
    const input = sections.map((section) => restoreText(section, this.family)).join('');
    const restore = async (): Promise<string> =>
      await this.#run('-restore', ['--noflush', '--wait', LOCK_SECONDS, '--counters'], input);
    try {
      await (this.#alterations?.except(restore) ?? restore());
    } catch (error) {
      throw explainLine(error, input);
    }
  }

  async save(table: TableName): Promise<string> {
    return await this.#run('-save', ['-t', table]);
  }

  async missingChains(table: TableName, chains: readonly string[]): Promise<string[]> {
    const missing: string[] = [];
    for (const chain of chains) {
      try {
        await this.#run('', ['--wait', LOCK_SECONDS, '-t', table, '-S', chain, '1']);
      } catch (error) {
        if (!(error instanceof CommandError) || error.code !== 'COMMAND_FAILED') throw error;
        missing.push(chain);
      }
    }
    return missing;
  }

  async alteredByOthers(): Promise<boolean> {
    return Promise.resolve(this.#alterations?.altered ?? false);
  }

  close(): void {
    this.#alterations?.close();
  }

  async #run(suffix: string, args: readonly string[], input?: string): Promise<string> {
    const { netns } = this.#options;
    const command = toolName(this.#options) + suffix;
    const result = await run(command, args, {
      timeoutMs: TIMEOUT_MS,
      ...(netns === undefined ? {} : { netns }),
      ...(input === undefined ? {} : { input }),
    });
    return result.stdout;
  }
}

/** `iptables-legacy`, `ip6tables-nft`. */
function toolName({ family, variant }: Pick<ToolOptions, 'family' | 'variant'>): string {
  return `${family === 4 ? 'iptables' : 'ip6tables'}-${variant}`;
}

async function toolVersion(options: ToolOptions): Promise<string> {
  const command = toolName(options);
  try {
    return (await run(command, ['--version'])).stdout;
  } catch (cause) {
    if (!(cause instanceof FlatnetError) || cause.code !== 'COMMAND_NOT_FOUND') throw cause;
    throw new FlatnetError(`${command} is not installed`, {
      code: 'IPTABLES_MISSING',
      hint: 'install the package "iptables" (1.8 or later), or choose another proxy mode',
      cause,
    });
  }
}

function atLeast(text: string, wanted: readonly number[]): boolean {
  const found = /v(\d+)\.(\d+)\.(\d+)/.exec(text)?.slice(1).map(Number) ?? [];
  for (const [index, part] of wanted.entries()) {
    const own = found[index] ?? 0;
    if (own !== part) return own > part;
  }
  return true;
}

/** The tool tells the number of the line that it did not take: shown with it. */
function explainLine(error: unknown, input: string): unknown {
  if (!(error instanceof CommandError)) return error;
  const number = Number(/line:? (\d+)/i.exec(error.stderr)?.[1] ?? 0);
  const line = input.split('\n')[number - 1];
  if (number === 0 || line === undefined) return error;
  return new FlatnetError(`${error.message} (${line})`, { code: error.code, cause: error });
}
