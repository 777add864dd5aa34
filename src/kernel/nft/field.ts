import { Ip, type IpFamily } from '../../net/ip.ts';

// Fields of concatenated keys and data as registers hold them: network order, each padded to four bytes
// (nft_register_store8/16 of include/net/netfilter/nf_tables.h zero the rest of the register).

const PROTOCOL_NUMBERS = { TCP: 6, UDP: 17, SCTP: 132 } as const;

export type TransportProtocol = keyof typeof PROTOCOL_NUMBERS;

const PROTOCOL_NAMES = new Map<number, TransportProtocol>(
  Object.entries(PROTOCOL_NUMBERS).map(([name, number]) => [number, name as TransportProtocol]),
);

const PROTOCOL_FIELDS = new Map<TransportProtocol, string>(
  Object.entries(PROTOCOL_NUMBERS).map(([name, number]) => [
    name as TransportProtocol,
    String.fromCharCode(number, 0, 0, 0),
  ]),
);

export function protocolNumber(protocol: TransportProtocol): number {
  return PROTOCOL_NUMBERS[protocol];
}

function protocolName(number: number): TransportProtocol | undefined {
  return PROTOCOL_NAMES.get(number);
}

/** `text` must be a valid address (checked where it came in); 4 or 16 bytes. */
export function addressField(text: string): string {
  if (text.includes(':')) return String.fromCharCode(...Ip.parse(text).toBytes());
  // By hand: a hundred thousand endpoints come by here.
  let octet = 0;
  let bytes = '';
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code === 46) {
      bytes += String.fromCharCode(octet);
      octet = 0;
    } else octet = octet * 10 + code - 48;
  }
  return bytes + String.fromCharCode(octet);
}

export function portField(port: number): string {
  return String.fromCharCode(port >> 8, port & 0xff, 0, 0);
}

export function protocolField(protocol: TransportProtocol): string {
  return PROTOCOL_FIELDS.get(protocol) ?? '';
}

/** What `numgen` writes into a register: 32 bits in host order, which is little-endian wherever this runs. */
export function indexField(index: number): string {
  return String.fromCharCode(index & 0xff, (index >> 8) & 0xff, (index >> 16) & 0xff, index >>> 24);
}

/** Address and port together: the data of a DNAT map. */
export function endpointData(address: string, port: number): string {
  return addressField(address) + portField(port);
}

/** Reads fields one after the other. */
export class FieldReader {
  readonly #bytes: string;
  #at = 0;

  constructor(bytes: string) {
    this.#bytes = bytes;
  }

  address(family: IpFamily): string {
    const size = family === 4 ? 4 : 16;
    return Ip.fromBytes(Uint8Array.from({ length: size }, () => this.#byte())).toString();
  }

  port(): number {
    const port = this.#byte() * 256 + this.#byte();
    this.#at += 2;
    return port;
  }

  protocol(): TransportProtocol | undefined {
    const number = this.#byte();
    this.#at += 3;
    return protocolName(number);
  }

  index(): number {
    return this.#byte() + this.#byte() * 0x100 + this.#byte() * 0x10000 + this.#byte() * 0x1000000;
  }

  #byte(): number {
    const byte = this.#bytes.charCodeAt(this.#at);
    this.#at += 1;
    return byte;
  }
}
