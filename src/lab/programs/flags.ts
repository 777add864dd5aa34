import { FlatnetError } from '../../errors/flatnet-error.ts';

export interface FlagSpec {
  /** Without the dashes. */
  readonly name: string;
  readonly kind: 'text' | 'integer' | 'boolean';
  readonly fallback: string | number | boolean;
}

/**
 * Flags as Go programs take them: `--port 80`, `--port=80`, `--http`, `--http=false`, one dash or two. The images
 * that the lab stands in for are such programs, and manifests are written for them.
 */
export class Flags {
  readonly #values: ReadonlyMap<string, string | number | boolean>;

  private constructor(values: ReadonlyMap<string, string | number | boolean>) {
    this.#values = values;
  }

  /** Throws USAGE naming the flag. */
  static parse(program: string, specs: readonly FlagSpec[], args: readonly string[]): Flags {
    const values = new Map(specs.map((spec) => [spec.name, spec.fallback]));
    for (let i = 0; i < args.length; i += 1) {
      const match = /^--?([\w-]+)(?:=(.*))?$/s.exec(args[i] ?? '');
      const spec = specs.find((candidate) => candidate.name === match?.[1]);
      if (match === null || spec === undefined) throw usage(program, specs, `unknown argument "${args[i]}"`);
      let text = match[2];
      if (text === undefined && spec.kind === 'boolean') text = 'true';
      if (text === undefined) {
        i += 1;
        text = args[i];
      }
      if (text === undefined) throw usage(program, specs, `--${spec.name} needs a value`);
      values.set(spec.name, parseValue(program, specs, spec, text));
    }
    return new Flags(values);
  }

  text(name: string): string {
    return String(this.#values.get(name));
  }

  integer(name: string): number {
    return Number(this.#values.get(name));
  }

  boolean(name: string): boolean {
    return this.#values.get(name) === true;
  }
}

function parseValue(
  program: string,
  specs: readonly FlagSpec[],
  spec: FlagSpec,
  text: string,
): string | number | boolean {
  if (spec.kind === 'text') return text;
  if (spec.kind === 'integer' && /^-?\d+$/.test(text)) return Number(text);
  if (spec.kind === 'boolean' && ['true', 'false', '1', '0', 't', 'f'].includes(text.toLowerCase())) {
    return ['true', '1', 't'].includes(text.toLowerCase());
  }
  throw usage(
    program,
    specs,
    `--${spec.name}: "${text}" is not ${spec.kind === 'integer' ? 'a number' : 'true or false'}`,
  );
}

function usage(program: string, specs: readonly FlagSpec[], message: string): FlatnetError {
  const list = specs.map((spec) => `--${spec.name}=${String(spec.fallback)}`);
  return new FlatnetError(`${program}: ${message}`, {
    code: 'USAGE',
    hint: `flags and their defaults: ${list.join(' ')}`,
  });
}
