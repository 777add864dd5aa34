import { CNI_CODE, CniError } from './cni-error.ts';

/** Settings of every interface have these names under conf in /proc/sys/net; the dots are folders. */
const RESERVED_NAMES = ['.', '..', 'all', 'default'];

/** With the interface's name it is the name of a file: NAME_MAX is 255. The specification sets no limit. */
const MAX_CONTAINER_ID = 200;

/** A name as the specification has it for containers and networks; it never leads out of a folder. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

export function isContainerId(text: string): boolean {
  return text.length <= MAX_CONTAINER_ID && NAME.test(text);
}

export function isNetworkName(text: string): boolean {
  return text.length <= MAX_CONTAINER_ID && NAME.test(text);
}

/**
 * dev_valid_name() of the kernel: IFNAMSIZ with its NUL is 16; no slash, colon or white space. "%d" makes it choose a
 * number.
 */
export function isInterfaceName(text: string): boolean {
  return (
    text !== '' && Buffer.byteLength(text) <= 15 && !RESERVED_NAMES.includes(text) && !/[/:%\s\0]/.test(text)
  );
}

/** Throws CniError 4. */
export function checkContainerId(text: string): string {
  if (isContainerId(text)) return text;
  throw new CniError(
    CNI_CODE.invalidEnvironment,
    `CNI_CONTAINERID ${JSON.stringify(text)} is not valid`,
    `it begins with a letter or digit, holds only letters, digits, "_", "." and "-", and has up to ${MAX_CONTAINER_ID} characters`,
  );
}

/** Throws CniError 4. */
export function checkInterfaceName(text: string): string {
  if (isInterfaceName(text)) return text;
  throw new CniError(
    CNI_CODE.invalidEnvironment,
    `CNI_IFNAME ${JSON.stringify(text)} is not valid`,
    'an interface name has up to 15 bytes, without slash, colon, per cent and white space',
  );
}
