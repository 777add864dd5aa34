import type { FlatnetError } from '../../errors/flatnet-error.ts';
import { ERRNO, errnoError } from '../libc/errno.ts';

/** EADDRINUSE of a device, in words that lead to the remedy. */
export function portTaken(name: string): FlatnetError {
  return errnoError(
    `configure WireGuard device ${name}`,
    ERRNO.EADDRINUSE,
    'its UDP port is taken',
    'end what has it, or choose another network.Backend.ListenPort (ListenPortV6)',
  );
}
