import type { IptablesKernel } from './objects.ts';
import { ToolIptables, type ToolOptions } from './tool-kernel.ts';

/** iptables of one family and variant. Throws IPTABLES_MISSING where its programs are not installed. */
export async function openIptables(options: ToolOptions): Promise<IptablesKernel> {
  return await ToolIptables.open(options);
}
