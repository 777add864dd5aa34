import { parseDuration } from './duration.ts';
import { parseBindAddress } from './bind-address.ts';
import { HEALTHZ_PORT, METRICS_PORT } from './schema.ts';

/** What the text of a flag becomes, with what is told when it is something else. */
export interface FlagType {
  /** What stands in the usage: `--conntrack-min int`. */
  readonly placeholder: string;
  /** The value as it would stand in the file; undefined where the text is no such value. */
  readonly read: (text: string) => unknown;
  readonly wanted: string;
}

const TRUE = ['1', 't', 'T', 'true', 'TRUE', 'True'];
const FALSE = ['0', 'f', 'F', 'false', 'FALSE', 'False'];

/** As Go's strconv.ParseBool. */
function readBoolean(text: string): boolean | undefined {
  if (TRUE.includes(text)) return true;
  return FALSE.includes(text) ? false : undefined;
}

export function readInteger(text: string): number | undefined {
  const value = Number(text);
  return /^[-+]?(?:\d+|0x[0-9a-fA-F]+)$/.test(text) && Number.isSafeInteger(value) ? value : undefined;
}

function readGates(text: string): Record<string, boolean> | undefined {
  const gates: Record<string, boolean> = {};
  for (const pair of text.split(',')) {
    const [name = '', value = ''] = pair.split('=').map((part) => part.trim());
    const enabled = readBoolean(value);
    if (name === '' && value === '') continue;
    if (name === '' || enabled === undefined) return undefined;
    gates[name] = enabled;
  }
  return gates;
}

const list = (text: string): string[] => (text === '' ? [] : text.split(',').map((part) => part.trim()));

function readAddress(text: string, defaultPort: number): string | undefined {
  return text === '' || parseBindAddress(text, defaultPort) !== undefined ? text : undefined;
}

export const BOOL: FlagType = { placeholder: 'bool', read: readBoolean, wanted: 'true or false' };
export const STRING: FlagType = { placeholder: 'string', read: (text) => text, wanted: 'a text' };
export const INT: FlagType = { placeholder: 'int', read: readInteger, wanted: 'a whole number' };
export const FLOAT: FlagType = {
  placeholder: 'float',
  read: (text) => (text !== '' && Number.isFinite(Number(text)) ? Number(text) : undefined),
  wanted: 'a number',
};
export const DURATION: FlagType = {
  placeholder: 'duration',
  read: (text) => (parseDuration(text) === undefined ? undefined : text),
  wanted: 'a duration, like 30s or 24h0m0s',
};
export const LIST: FlagType = {
  placeholder: 'strings',
  read: list,
  wanted: 'values with commas between them',
};
export const GATES: FlagType = {
  placeholder: 'gates',
  read: readGates,
  wanted: 'Name=true or Name=false, with commas between',
};
export const HEALTHZ: FlagType = {
  placeholder: 'ipport',
  read: (text) => readAddress(text, HEALTHZ_PORT),
  wanted: `an address and port, like 0.0.0.0:${HEALTHZ_PORT}; empty for no server`,
};
export const METRICS: FlagType = {
  placeholder: 'ipport',
  read: (text) => readAddress(text, METRICS_PORT),
  wanted: `an address and port, like 127.0.0.1:${METRICS_PORT}; empty for no server`,
};
