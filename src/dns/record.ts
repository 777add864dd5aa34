import type { Ip } from '../net/ip.ts';

/** Resource record types by number (RFC 1035 section 3.2.2, RFC 3596, RFC 2782, RFC 6891). */
export const RecordType = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  ANY: 255,
} as const;

/** Response codes (RFC 1035 section 4.1.1; BADVERS is RFC 6891 section 9). */
export const Rcode = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;

export const CLASS_IN = 1;

/** The size of UDP answers we send and accept: what passes every path unfragmented (DNS flag day 2020). */
export const UDP_PAYLOAD_SIZE = 1232;

interface Owned {
  /** Owner: lower case, no final dot; '' is the root. */
  readonly name: string;
  /** Seconds. */
  readonly ttl: number;
}

export type AddressRecord = Owned & { readonly type: 'A' | 'AAAA'; readonly address: Ip };
export type NameRecord = Owned & { readonly type: 'CNAME' | 'PTR' | 'NS'; readonly target: string };
type SrvRecord = Owned & {
  readonly type: 'SRV';
  readonly priority: number;
  readonly weight: number;
  readonly port: number;
  readonly target: string;
};
type TxtRecord = Owned & { readonly type: 'TXT'; readonly texts: readonly string[] };
export type SoaRecord = Owned & {
  readonly type: 'SOA';
  readonly primary: string;
  readonly mailbox: string;
  readonly serial: number;
  readonly refresh: number;
  readonly retry: number;
  readonly expire: number;
  /** Time a negative answer may be kept, seconds (RFC 2308 section 4). */
  readonly minimum: number;
};

export type ResourceRecord = AddressRecord | NameRecord | SrvRecord | TxtRecord | SoaRecord;

export interface Question {
  /** Labels from the left, lower case, one character an octet; compare only with ASCII names. */
  readonly labels: readonly string[];
  readonly type: number;
  readonly class: number;
  /** The question as it came, so that the answer repeats it octet for octet (0x20 case randomisation). */
  readonly raw: Uint8Array;
}

export interface Edns {
  readonly version: number;
  /** What the sender can receive over UDP, octets. */
  readonly udpPayloadSize: number;
  readonly dnssecOk: boolean;
}

export interface Query {
  readonly id: number;
  readonly opcode: number;
  readonly recursionDesired: boolean;
  readonly checkingDisabled: boolean;
  readonly question: Question;
  readonly edns: Edns | undefined;
}

/** Why there is no better answer, shown by `dig` (RFC 8914). */
export interface ExtendedError {
  readonly code: number;
  readonly text: string;
}

export interface Response {
  readonly rcode: number;
  readonly authoritative: boolean;
  readonly answers: readonly ResourceRecord[];
  readonly authorities: readonly ResourceRecord[];
  readonly additionals: readonly ResourceRecord[];
  readonly extendedError?: ExtendedError;
}

/** An answer without records. */
export function bare(rcode: number, extendedError?: ExtendedError): Response {
  const empty = { rcode, authoritative: false, answers: [], authorities: [], additionals: [] };
  return extendedError === undefined ? empty : { ...empty, extendedError };
}
