import { enableForwarding, ensureBridge } from '../../cni/bridge.ts';
import { addPodInterface } from '../../cni/pod-interface.ts';
import { LinuxRouteKernel } from '../../kernel/netlink/apply.ts';
import { netnsPath } from '../../kernel/netns/netns.ts';
import { NftSocket } from '../../kernel/nft/nft-socket.ts';
import { createLogger } from '../../log/logger.ts';
import { Cidr } from '../../net/cidr.ts';
import type { IpFamily } from '../../net/ip.ts';
import { podMtu, type Backend, type LocalNode } from '../../podnet/backends/backend.ts';
import { openBackend } from '../../podnet/backends/open-backend.ts';
import { renderMasquerade } from '../../podnet/masquerade/ruleset.ts';
import type { NodeLease } from '../../podnet/node-lease.ts';
import { PodNetwork } from '../../podnet/pod-network.ts';
import { NftablesBackend } from '../../proxy/backends/nftables/backend.ts';
import type { BackendSettings } from '../../podnet/network-config.ts';
import { renderTunnelRules } from '../../podnet/tunnel/ruleset.ts';
import { describeLocalNode, readNodeFacts } from '../../podnet/underlay.ts';
import type { MeasuredPath } from './measured-path.ts';
import { NodePair, type BenchNode } from './node-pair.ts';

const NETWORK = Cidr.parse('10.244.0.0/16');
const MASQUERADE_BIT = 14;
const LOGGER = createLogger('bench', 'error');
const SERVICES = Cidr.parse('10.96.0.0/16');

/** The way that Flatnet builds: the agent's own code and rules on both nodes, the service proxy's too. */
export async function buildFlatnetPath(prefix: string, settings: BackendSettings): Promise<MeasuredPath> {
  const pair = new NodePair(prefix);
  try {
    const locals = pair.nodes.map((node, index) => localNode(node, index + 1, settings));
    const stop = new AbortController();
    const running: Promise<void>[] = [];
    for (const [index, node] of pair.nodes.entries()) {
      const [here, there] = [locals[index], locals[1 - index]];
      if (here === undefined || there === undefined) throw new Error('two nodes make a pair');
      const opened = await openBackend(settings, { netns: node.netns.fd, logger: LOGGER });
      const network = podNetwork(node);
      network.setLocal(here, { backends: [opened.backend], drivers: opened.drivers });
      network.setPeer(leaseOf(opened.backend, there));
      running.push(network.run(stop.signal));
      connectPod(node, here, podMtu([opened.backend], here));
      await loadRules(node, here, opened.backend);
    }
    const [client, server] = pair.nodes;
    return {
      client: client.pod,
      server: server.pod,
      serverIp: '10.244.2.2',
      close: () => {
        stop.abort();
        pair.close();
      },
    };
  } catch (error) {
    pair.close();
    throw error;
  }
}

function localNode({ kernel, ip }: BenchNode, index: number, settings: BackendSettings): LocalNode {
  const podCidrs = new Map<IpFamily, Cidr>([[4, Cidr.parse(`10.244.${index}.0/24`)]]);
  return describeLocalNode(readNodeFacts(kernel), {
    name: `node-${index}`,
    config: { networks: new Map([[4, NETWORK]]), backend: settings },
    podCidrs,
    internalIps: [ip],
    iface: undefined,
    macs: new Map(),
  });
}

function leaseOf(backend: Backend, { name, families }: LocalNode): NodeLease {
  const data = [...families].map(([family, facts]) => [family, backend.data(facts, family)] as const);
  return {
    node: name,
    offers: [{ type: backend.type, data: new Map(data) }],
    families: new Map([...families].map(([family, facts]) => [family, { ...facts, publicIp: facts.ip }])),
  };
}

function podNetwork({ kernel }: BenchNode): PodNetwork {
  return new PodNetwork({
    kernel,
    logger: LOGGER,
    onProblems: () => undefined,
    onUnderlayChange: () => undefined,
  });
}

async function loadRules({ netns, ip }: BenchNode, local: LocalNode, backend: Backend): Promise<void> {
  const podCidr = local.families.get(4)?.podCidr ?? NETWORK;
  const nft = NftSocket.open({ netns: netns.fd });
  await nft.load(
    renderMasquerade([{ podCidr, network: NETWORK }], MASQUERADE_BIT) +
      renderTunnelRules(backend.tunnelPorts),
  );
  const proxy = new NftablesBackend(nft, {
    families: [4],
    nodeIps: [ip],
    nodePortAddresses: [ip],
    localhostNodePorts: false,
    localTraffic: { kind: 'cidrs', cidrs: [NETWORK] },
    serviceCidrs: [SERVICES],
    masqueradeAll: false,
    masqueradeBit: MASQUERADE_BIT,
  });
  await proxy.prepare();
  await proxy.rebuild([]);
  nft.close();
}

function connectPod({ kernel, netns, pod }: BenchNode, local: LocalNode, mtu: number): void {
  const podCidr = local.families.get(4)?.podCidr ?? NETWORK;
  netns.run(() => {
    enableForwarding([4]);
    ensureBridge(kernel, { name: 'cni0', podCidrs: [podCidr], mtu });
  });
  addPodInterface(
    { node: kernel, open: (fd) => LinuxRouteKernel.open(fd) },
    { containerId: pod, ifName: 'eth0', netns: netnsPath(pod) },
    { bridge: 'cni0', mtu, addresses: [{ ip: podCidr.at(2), prefixLength: 24, gateway: podCidr.at(1) }] },
  );
}
