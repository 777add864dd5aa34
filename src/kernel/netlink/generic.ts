import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Attributes, MessageBuilder } from './message.ts';
import type { NetlinkSocket } from './socket.ts';

// <linux/genetlink.h>
export const NETLINK_GENERIC = 16;
const GENL_ID_CTRL = 0x10;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;
export const GENERIC_HEADER_LENGTH = 4;

/** struct genlmsghdr. */
export function writeGenericHeader(
  builder: MessageBuilder,
  command: number,
  version: number,
): MessageBuilder {
  return builder.u8(command).u8(version).u16(0);
}

/**
 * The number under which a family of generic netlink is known while its module is loaded; the kernel tries to load it.
 * Undefined where the kernel does not have it.
 */
export function findGenericFamily(socket: NetlinkSocket, name: string): number | undefined {
  const body = writeGenericHeader(new MessageBuilder(64), CTRL_CMD_GETFAMILY, 1);
  body.attrString(CTRL_ATTR_FAMILY_NAME, name);
  const request = { type: GENL_ID_CTRL, body: body.finish() };
  try {
    const [answer] = socket.request(request, `find the generic netlink family ${name}`);
    return answer && Attributes.parse(answer.body, GENERIC_HEADER_LENGTH).u16(CTRL_ATTR_FAMILY_ID);
  } catch (error) {
    if (error instanceof FlatnetError && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
