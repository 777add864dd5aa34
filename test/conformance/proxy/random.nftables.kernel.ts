import { NftSocket } from '../../../src/kernel/nft/nft-socket.ts';
import { Netns } from '../../../src/kernel/netns/netns.ts';
import { NftablesBackend } from '../../../src/proxy/backends/nftables/backend.ts';
import { FAKE_NFTABLES, nftablesSubject } from './random-nftables.ts';
import { describeRandomChanges } from './random-suite.ts';

// The same once more on the kernel, which a full sync on the fake one is compared with.
describeRandomChanges(
  {
    ...FAKE_NFTABLES,
    async open(settings) {
      const netns = Netns.createAnonymous();
      const nft = NftSocket.open({ netns: netns.fd });
      const subject = nftablesSubject(new NftablesBackend(nft, settings), nft, settings);
      const close = async (): Promise<void> => {
        await subject.close();
        netns.close();
      };
      return Promise.resolve({ ...subject, close });
    },
    openFresh: async (settings) => await FAKE_NFTABLES.open(settings),
  },
  { steps: 510, packetsPerStep: 10 },
);
