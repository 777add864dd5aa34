import { LegacyIptables } from './legacy-kernel.ts';
import { LegacySocket } from './legacy-socket.ts';
import type { IptablesKernel } from './objects.ts';
import { ToolIptables, type ToolOptions } from './tool-kernel.ts';

export interface IptablesOptions extends ToolOptions {
  /** Has ip_tables programmed in process, where changes are many; knows the rules of kube-proxy's iptables mode. */
  readonly inProcess?: boolean;
}

/** iptables of one family and variant. Throws IPTABLES_MISSING where its programs are not installed. */
export async function openIptables(options: IptablesOptions): Promise<IptablesKernel> {
  const tool = await ToolIptables.open(options);
  if (options.variant === 'nft' || options.inProcess !== true) return tool;
  return new LegacyIptables(LegacySocket.open(options.family, options.netns), tool);
}
