import { FlatnetError } from '../../errors/flatnet-error.ts';
import { AF_UNIX } from './libc.ts';

/** sun_path of <sys/un.h>. */
const PATH_MAX = 108;

/** struct sockaddr_un. Throws ENAMETOOLONG. */
export function unixAddress(path: string): Buffer {
  const text = Buffer.from(path);
  if (text.length >= PATH_MAX) {
    throw new FlatnetError(`unix socket path ${path} is longer than ${PATH_MAX - 1} bytes`, {
      code: 'ENAMETOOLONG',
    });
  }
  const address = Buffer.alloc(2 + text.length + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  text.copy(address, 2);
  return address;
}

/** struct timeval of 64-bit platforms: seconds, microseconds. */
export function timeval(milliseconds: number): Buffer {
  const seconds = Math.floor(milliseconds / 1000);
  const microseconds = (milliseconds % 1000) * 1000;
  return Buffer.from(BigInt64Array.of(BigInt(seconds), BigInt(microseconds)).buffer);
}
