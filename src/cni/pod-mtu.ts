import type { AttachmentRecord } from './attachments/attachment-record.ts';
import { openIfThere, withKernel, type PodInterfaceKernels } from './container-netns.ts';

/**
 * Gives a connected pod another MTU, within what its configuration allows. Smaller first at the pod's end, larger first
 * at the node's: so neither sends what the other drops. A pod that is gone is passed over. Throws in the kernel's words.
 */
export function changePodMtu(kernels: PodInterfaceKernels, record: AttachmentRecord, wanted: number): void {
  const mtu = Math.min(wanted, record.mtu ?? wanted);
  const host = kernels.node.link(record.hostInterface);
  if (host === undefined) return;
  const changeHost = (): void => {
    if (host.mtu !== mtu) kernels.node.changeLink(host.index, { mtu });
  };
  if (mtu > host.mtu) changeHost();
  const netns = openIfThere(record.netns);
  if (netns !== undefined) {
    try {
      withKernel(kernels, netns, (pod) => {
        const link = pod.link(record.ifName);
        if (link !== undefined && link.mtu !== mtu) pod.changeLink(link.index, { mtu });
      });
    } finally {
      netns.close();
    }
  }
  changeHost();
}
