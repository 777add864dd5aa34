import { LegacyIptables } from './legacy-kernel.ts';
import { LegacySocket } from './legacy-socket.ts';
import type { IptablesKernel } from './objects.ts';
import { SetNumbers } from './set-numbers.ts';
import { ToolIptables, type ToolOptions } from './tool-kernel.ts';

export interface IptablesOptions extends ToolOptions {
  /** Has ip_tables programmed in process, where changes or looks are many. */
  readonly inProcess?: boolean;
}

/** iptables of one family and variant. Throws IPTABLES_MISSING where its programs are not installed. */
export async function openIptables(options: IptablesOptions): Promise<IptablesKernel> {
  const tool = await ToolIptables.open(options);
  if (options.variant === 'nft' || options.inProcess !== true) return tool;
  const { family, netns } = options;
  const socket = LegacySocket.open(family, netns);
  // Tables the kernel loads by itself when they are asked for, ip_tables not: that the programs do.
  if (!socket.isThere()) await tool.save('filter');
  return new LegacyIptables(socket, tool, new SetNumbers(netns));
}
