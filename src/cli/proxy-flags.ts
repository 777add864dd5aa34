import { Command, InvalidArgumentError, Option } from 'commander';
import { PROXY_FLAGS, type ProxyFlag } from '../proxy/config/flags.ts';
import type { FlagValues } from '../proxy/config/invocation.ts';

const BY_NAME = new Map(PROXY_FLAGS.map((flag) => [flag.name, flag]));

/** Takes its arguments as Go's pflag does. */
class GoStyleCommand extends Command {
  override parseOptions(argv: string[]): ReturnType<Command['parseOptions']> {
    return super.parseOptions(argv.map(goStyle));
  }
}

/**
 * `--proxy_mode` is `--proxy-mode`, a boolean without a value is true whatever follows it, `-v=2` is `--v=2`. What
 * does not begin with a dash is the value of the flag before.
 */
function goStyle(word: string): string {
  if (/^-v(?:=|\d)/.test(word)) return `--v=${word.slice(word[2] === '=' ? 3 : 2)}`;
  const match = /^--([^=]+)(=.*)?$/s.exec(word);
  if (match === null) return word;
  const name = (match[1] ?? '').replaceAll('_', '-');
  const value = match[2] ?? '';
  const isSwitch = value === '' && BY_NAME.get(name)?.type.placeholder === 'bool';
  return `--${name}${isSwitch ? '=true' : value}`;
}

/** A command with kube-proxy's flags. */
export function commandWithFlags(name: string): Command {
  const made = new GoStyleCommand(name);
  for (const flag of PROXY_FLAGS) made.addOption(optionOf(flag));
  return made;
}

function optionOf({ name, type, help, deprecated }: ProxyFlag): Option {
  const told = deprecated === undefined ? help : `${help} (deprecated: ${deprecated})`;
  const value = type.placeholder === 'bool' ? '[bool]' : `<${type.placeholder}>`;
  const flags = `${name === 'v' ? '-v, ' : ''}--${name} ${value}`;
  return new Option(flags, told).argParser((text: string, earlier: unknown) => {
    const value = type.read(text);
    if (value === undefined) throw new InvalidArgumentError(`It must be ${type.wanted}.`);
    return merged(earlier, value);
  });
}

/** Lists and gates that are given twice add up, everything else is what it was given last. */
function merged(earlier: unknown, value: unknown): unknown {
  if (Array.isArray(earlier) && Array.isArray(value))
    return [...(earlier as unknown[]), ...(value as unknown[])];
  const both = [earlier, value].every(
    (given) => typeof given === 'object' && given !== null && !Array.isArray(given),
  );
  return both ? { ...(earlier as object), ...(value as object) } : value;
}

/** What was given, by the names of the flags; commander's own are in camel case. */
export function valuesOf(options: Record<string, unknown>): FlagValues {
  const values = new Map<string, unknown>();
  for (const { name } of PROXY_FLAGS) {
    const value = options[name.replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase())];
    if (value !== undefined) values.set(name, value);
  }
  return values;
}
