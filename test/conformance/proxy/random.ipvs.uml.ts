import { IpvsSocket } from '../../../src/kernel/ipvs/ipvs-socket.ts';
import { run } from '../../../src/kernel/exec/run.ts';
import { Netns } from '../../../src/kernel/netns/netns.ts';
import { openKernels } from '../../../src/proxy/backends/ipvs/kernels.ts';
import { FAKE_IPVS, ipvsSubject } from './random-ipvs.ts';
import { describeRandomChanges } from './random-suite.ts';
import { nodeAddresses } from './topology.ts';

const LOOPBACK = /^(?:127\.|::1$)/;

// The same once more on the kernel, which a full sync on the fake one is compared with.
describeRandomChanges(
  {
    ...FAKE_IPVS,
    async open(settings) {
      const netns = Netns.createAnonymous();
      const inside = async (words: string): Promise<unknown> =>
        await run('ip', words.split(' '), { netns: netns.fd });
      await inside('link add eth0 type dummy');
      await inside('link set lo up');
      for (const address of [...nodeAddresses(4), ...nodeAddresses(6)].filter((one) => !LOOPBACK.test(one))) {
        await inside(`addr add ${address}/${address.includes(':') ? '64 dev eth0 nodad' : '24 dev eth0'}`);
      }
      const kernels = await openKernels(settings.families, netns.fd);
      const ipvs = IpvsSocket.open(netns.fd);
      if (ipvs === undefined) throw new Error('this kernel has no IPVS');
      const subject = ipvsSubject(settings, kernels, ipvs);
      const close = async (): Promise<void> => {
        await subject.close();
        ipvs.close();
        netns.close();
      };
      return { ...subject, close };
    },
    openFresh: async (settings) => await FAKE_IPVS.open(settings),
  },
  // A fifth of a second each there: all of them are made on the fake one.
  { steps: 30, packetsPerStep: 10 },
);
