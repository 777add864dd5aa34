import { run } from '../../../src/kernel/exec/run.ts';
import type { IptablesVariant, TableName } from '../../../src/kernel/iptables/objects.ts';
import type { IpFamily } from '../../../src/net/ip.ts';

/** What iptables-save prints of all tables, asked for once until it is forgotten: programs take their time. */
export class SavedTables {
  readonly family: IpFamily;
  readonly #program: string;
  readonly #netns: number;
  #text: Promise<string> | undefined;

  constructor(family: IpFamily, variant: IptablesVariant, netns: number) {
    this.family = family;
    this.#program = `${family === 4 ? 'iptables' : 'ip6tables'}-${variant}-save`;
    this.#netns = netns;
  }

  forget(): void {
    this.#text = undefined;
  }

  async save(table: TableName): Promise<string> {
    this.#text ??= run(this.#program, [], { netns: this.#netns }).then(({ stdout }) => stdout);
    const text = await this.#text;
    const from = text.indexOf(`*${table}\n`);
    return from === -1 ? '' : text.slice(from, text.indexOf('COMMIT\n', from) + 'COMMIT\n'.length);
  }
}
