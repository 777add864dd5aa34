import { FlatnetError } from '../errors/flatnet-error.ts';

/** An Ethernet address (EUI-48). */
export class Mac {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    if (bytes.length !== 6) {
      throw new FlatnetError(`a MAC address has 6 bytes, not ${bytes.length}`, { code: 'INVALID_MAC' });
    }
    this.bytes = Uint8Array.from(bytes);
  }

  /** Parses `0a:58:0a:f4:01:07`. Throws INVALID_MAC. */
  static parse(text: string): Mac {
    if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)) {
      throw new FlatnetError(`"${text}" is not a MAC address`, {
        code: 'INVALID_MAC',
        hint: 'write it like 0a:58:0a:f4:01:07',
      });
    }
    return new Mac(Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16)));
  }

  equals(other: Mac): boolean {
    return this.toString() === other.toString();
  }

  toString(): string {
    return Array.from(this.bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
  }

  toJSON(): string {
    return this.toString();
  }
}
