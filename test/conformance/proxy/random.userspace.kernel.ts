import type { IptablesKernel } from '../../../src/kernel/iptables/objects.ts';
import { openIptables } from '../../../src/kernel/iptables/open.ts';
import { Netns } from '../../../src/kernel/netns/netns.ts';
import { describeRandomChanges } from './random-suite.ts';
import { FAKE_USERSPACE, userspaceSubject } from './random-userspace.ts';
import { SavedTables } from './saved-tables.ts';

// The same once more on the kernel, with the programs of the nf_tables variant; a full sync on the fake one is what it
// is compared with.
describeRandomChanges(
  {
    ...FAKE_USERSPACE,
    async open(settings) {
      const netns = Netns.createAnonymous();
      const kernels: IptablesKernel[] = [];
      for (const family of settings.families) {
        kernels.push(await openIptables({ family, variant: 'nft', netns: netns.fd }));
      }
      const saved = settings.families.map((family) => new SavedTables(family, 'nft', netns.fd));
      const subject = userspaceSubject(settings, kernels, saved);
      const close = async (): Promise<void> => {
        await subject.close();
        netns.close();
      };
      return { ...subject, close };
    },
    openFresh: async (settings) => await FAKE_USERSPACE.open(settings),
  },
  { steps: 501, packetsPerStep: 10 },
);
