import { constants } from 'node:os';
import { FlatnetError } from '../../errors/flatnet-error.ts';

/** Error codes of the CNI specification, section "Error"; 100 and above are a plugin's own. */
export const CNI_CODE = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  decodingFailure: 6,
  invalidConfiguration: 7,
  tryAgainLater: 11,
  notAvailable: 50,
  /** As 50, and containers that are there may be cut off too. */
  limitedConnectivity: 51,
  /** An interface that has an address already was to be given another. */
  duplicateAdd: 100,
  /** CHECK found the container's network other than ADD left it. */
  checkFailed: 101,
  /** The kernel does not do what is asked of it; the message has its words. */
  kernelRefused: 102,
  /** As libcni's own ErrInternal. */
  internal: 999,
} as const;

export type CniCode = (typeof CNI_CODE)[keyof typeof CNI_CODE];

const RETRYABLE: readonly CniCode[] = [
  CNI_CODE.tryAgainLater,
  CNI_CODE.notAvailable,
  CNI_CODE.limitedConnectivity,
];

/** An error with its CNI code decided where it was found. */
export class CniError extends FlatnetError {
  readonly cniCode: CniCode;

  constructor(cniCode: CniCode, message: string, hint?: string, cause?: unknown) {
    super(message, {
      code: `CNI_${cniCode}`,
      retryable: RETRYABLE.includes(cniCode),
      cause,
      ...(hint === undefined ? {} : { hint }),
    });
    this.cniCode = cniCode;
  }
}

const CODES: Readonly<Record<string, CniCode>> = {
  POD_CIDR_EXHAUSTED: CNI_CODE.tryAgainLater,
  ADDRESS_IN_USE: CNI_CODE.tryAgainLater,
  ADDRESS_NOT_IN_RANGE: CNI_CODE.invalidConfiguration,
  INVALID_RANGE: CNI_CODE.invalidConfiguration,
  POD_CIDR_TOO_SMALL: CNI_CODE.invalidConfiguration,
  IPAM_IO: CNI_CODE.ioFailure,
  ATTACHMENTS_IO: CNI_CODE.ioFailure,
  INVALID_OWNER: CNI_CODE.invalidEnvironment,
  DUPLICATE_ADD: CNI_CODE.duplicateAdd,
};

/** Of files and of rights, /proc/sys among them; all else that has an errno's name is the kernel refusing. */
const IO_FAILURES = ['EACCES', 'EDQUOT', 'EIO', 'EMFILE', 'ENFILE', 'ENOSPC', 'EPERM', 'EROFS'];

/** The code with which an error is reported to the runtime. */
export function cniCodeOf(error: unknown): CniCode {
  if (error instanceof CniError) return error.cniCode;
  if (!(error instanceof FlatnetError)) return CNI_CODE.internal;
  const { code } = error;
  const known = CODES[code];
  if (known !== undefined) return known;
  if (error.retryable) return CNI_CODE.tryAgainLater;
  if (IO_FAILURES.includes(code)) return CNI_CODE.ioFailure;
  return code in constants.errno || code.startsWith('ERRNO_') ? CNI_CODE.kernelRefused : CNI_CODE.internal;
}

/** The JSON that goes to standard output; `details` carries the hint. */
export function errorReply(error: unknown, cniVersion: string): string {
  const message = error instanceof Error ? error.message : String(error);
  const details = error instanceof FlatnetError ? error.hint : undefined;
  const reply = {
    cniVersion,
    code: cniCodeOf(error),
    msg: message,
    ...(details === undefined ? {} : { details }),
  };
  return `${JSON.stringify(reply)}\n`;
}
