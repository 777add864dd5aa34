import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { isPublicKey } from '../../../kernel/wireguard/key.ts';

/** What a node tells of itself: flannel's BackendData, `{"PublicKey":"…","Port":51820}`. */
export interface PublicData {
  /** Base64. */
  readonly publicKey: string;
  /** Undefined where an older flannel does not publish it: then it is the reader's own. */
  readonly port: number | undefined;
}

/** Throws INVALID_BACKEND_DATA that shows what was there. */
export function readPublicData(data: unknown): PublicData {
  const { PublicKey: publicKey, Port: port } = (data ?? {}) as { PublicKey?: unknown; Port?: unknown };
  const chosen = port ?? 0;
  const isPort = typeof chosen === 'number' && Number.isInteger(chosen) && chosen >= 0 && chosen <= 65_535;
  if (typeof publicKey === 'string' && isPublicKey(publicKey) && isPort) {
    return { publicKey, port: chosen === 0 ? undefined : chosen };
  }
  throw new FlatnetError(`its backend data is ${quote(data)}, not like {"PublicKey":"…","Port":51820}`, {
    code: 'INVALID_BACKEND_DATA',
    hint: 'the agent or flanneld of that node writes it when it starts',
  });
}

/** A store may hold a quarter of a megabyte: messages show its beginning. */
function quote(data: unknown): string {
  const text = JSON.stringify(data) ?? 'missing';
  return text.length <= 100 ? text : `${text.slice(0, 100)}… (${text.length} characters)`;
}
