import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { Mac } from '../../../net/mac.ts';

/** The far end of a VXLAN tunnel: flannel's BackendData, `{"VNI":1,"VtepMAC":"0a:…"}`. */
export interface Vtep {
  /** Absent where an old flannel did not publish it. */
  readonly vni: number | undefined;
  readonly mac: Mac;
}

/** Throws INVALID_BACKEND_DATA that shows what was there. */
export function readVtep(data: unknown): Vtep {
  try {
    return parse(data);
  } catch (cause) {
    throw new FlatnetError(`its backend data is ${quote(data)}, not like {"VNI":1,"VtepMAC":"0a:…"}`, {
      code: 'INVALID_BACKEND_DATA',
      hint: 'the agent or flanneld of that node writes it when it starts',
      cause,
    });
  }
}

function parse(data: unknown): Vtep {
  if (typeof data !== 'object' || data === null) throw new SyntaxError('not an object');
  const { VNI: vni, VtepMAC: mac } = data as { VNI?: unknown; VtepMAC?: unknown };
  if (typeof mac !== 'string') throw new SyntaxError('no VtepMAC');
  const parsed = Mac.parse(mac);
  // The kernel gives a device no other, and as a forwarding entry 00:00:00:00:00:00 catches all unknown traffic.
  const isGroup = ((parsed.bytes[0] ?? 0) & 1) === 1;
  if (isGroup || parsed.bytes.every((byte) => byte === 0))
    throw new SyntaxError('VtepMAC is not of one host');
  return { vni: typeof vni === 'number' ? vni : undefined, mac: parsed };
}

/** A store may hold a quarter of a megabyte: messages show its beginning. */
function quote(data: unknown): string {
  const text = JSON.stringify(data) ?? 'missing';
  return text.length <= 100 ? text : `${text.slice(0, 100)}… (${text.length} characters)`;
}
