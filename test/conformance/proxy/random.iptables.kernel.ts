import { openIptables } from '../../../src/kernel/iptables/open.ts';
import type { IptablesKernel } from '../../../src/kernel/iptables/objects.ts';
import { Netns } from '../../../src/kernel/netns/netns.ts';
import { IptablesBackend } from '../../../src/proxy/backends/iptables/backend.ts';
import { KernelNodeState } from '../../../src/proxy/backends/iptables/node-state.ts';
import { FAKE_IPTABLES, iptablesSubject } from './random-iptables.ts';
import { describeRandomChanges } from './random-suite.ts';
import { SavedTables } from './saved-tables.ts';

// The same once more on the kernel, which a full sync on the fake one is compared with.
describeRandomChanges(
  {
    ...FAKE_IPTABLES,
    async open(settings) {
      const netns = Netns.createAnonymous();
      const kernels: IptablesKernel[] = [];
      for (const family of settings.families) {
        kernels.push(await openIptables({ family, variant: 'legacy', netns: netns.fd, inProcess: true }));
      }
      const node = new KernelNodeState(netns.fd);
      const saved = settings.families.map((family) => new SavedTables(family, 'legacy', netns.fd));
      const subject = iptablesSubject(new IptablesBackend(kernels, node, settings), saved);
      const close = async (): Promise<void> => {
        await subject.close();
        netns.close();
      };
      return { ...subject, close };
    },
    openFresh: async (settings) => await FAKE_IPTABLES.open(settings),
  },
  { steps: 510, packetsPerStep: 10 },
);
