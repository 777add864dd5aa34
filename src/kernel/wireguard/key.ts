import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  timingSafeEqual,
} from 'node:crypto';
import { inspect } from 'node:util';
import { FlatnetError } from '../../errors/flatnet-error.ts';

/** Bytes of a Curve25519 key, private or public, and of a preshared key. */
const KEY_LENGTH = 32;

/** DER of RFC 8410 around the 32 bytes of an X25519 key, as node:crypto reads and writes it. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');

/**
 * A private or preshared key. Printed, logged or serialised it shows only by what it can be told from another: the
 * beginning of its SHA-256.
 */
export class SecretKey {
  readonly #bytes: Buffer;

  private constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** A new private key. */
  static generate(): SecretKey {
    const { privateKey } = generateKeyPairSync('x25519');
    const der = privateKey.export({ type: 'pkcs8', format: 'der' });
    return new SecretKey(Buffer.from(der.subarray(-KEY_LENGTH)));
  }

  /** Copies 32 bytes. Throws INVALID_KEY. */
  static fromBytes(bytes: Uint8Array): SecretKey {
    if (bytes.length !== KEY_LENGTH) throw invalid(`it has ${bytes.length} bytes`);
    return new SecretKey(Buffer.from(bytes));
  }

  /** From base64 as `wg genkey` prints it. Throws INVALID_KEY, which does not show the text. */
  static parse(text: string): SecretKey {
    const bytes = decodeBase64(text);
    if (bytes === undefined) throw invalid(`it has ${text.length} characters`);
    return new SecretKey(bytes);
  }

  /** The secret itself: for the kernel and the key file only. */
  reveal(): Buffer {
    return Buffer.from(this.#bytes);
  }

  /** Base64 of the public half, as `wg pubkey` prints it. */
  publicKey(): string {
    const key = createPrivateKey({
      key: Buffer.concat([PKCS8_PREFIX, this.#bytes]),
      format: 'der',
      type: 'pkcs8',
    });
    const der = createPublicKey(key).export({ type: 'spki', format: 'der' });
    return der.subarray(-KEY_LENGTH).toString('base64');
  }

  /** Without telling by its duration where the two differ. */
  equals(other: SecretKey): boolean {
    return timingSafeEqual(this.#bytes, other.#bytes);
  }

  /** All zeros: what the kernel's interfaces say where no key is set. */
  get isZero(): boolean {
    return this.#bytes.every((byte) => byte === 0);
  }

  toString(): string {
    return `hidden-${createHash('sha256').update(this.#bytes).digest('hex').slice(0, 8)}`;
  }

  toJSON(): string {
    return this.toString();
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/** Whether the text is a public key as wg prints it: 32 bytes in canonical base64, and not the zero key. */
export function isPublicKey(text: string): boolean {
  const bytes = decodeBase64(text);
  return bytes !== undefined && bytes.some((byte) => byte !== 0);
}

/** The bytes of a public key in base64. Throws INVALID_KEY. */
export function publicKeyBytes(text: string): Buffer {
  const bytes = decodeBase64(text);
  if (bytes === undefined) {
    throw new FlatnetError(`"${text.slice(0, 60)}" is not a WireGuard public key`, {
      code: 'INVALID_KEY',
      hint: 'a key is 32 bytes in base64: 44 characters, the last of them "="',
    });
  }
  return bytes;
}

/** Undefined for anything but 32 bytes in the one base64 form that they have. */
function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.length === KEY_LENGTH && bytes.toString('base64') === text ? bytes : undefined;
}

function invalid(what: string): FlatnetError {
  return new FlatnetError(`not a WireGuard key: ${what}`, {
    code: 'INVALID_KEY',
    hint: 'a key is 32 bytes in base64: 44 characters, the last of them "="; wg genkey makes one',
  });
}
