import { existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { enableForwarding, ensureBridge } from '../../cni/bridge.ts';
import { addPodInterface } from '../../cni/pod-interface.ts';
import { describeError, FlatnetError } from '../../errors/flatnet-error.ts';
import { LinuxRouteKernel } from '../../kernel/netlink/apply.ts';
import { netnsPath } from '../../kernel/netns/netns.ts';
import { NftSocket } from '../../kernel/nft/nft-socket.ts';
import { createLogger } from '../../log/logger.ts';
import { Cidr } from '../../net/cidr.ts';
import type { IpFamily } from '../../net/ip.ts';
import { podMtu, type Backend, type LocalNode } from '../../podnet/backends/backend.ts';
import { ROUTE_PROTOCOL } from '../../podnet/backends/kernel-entries.ts';
import { openBackend, type OpenedBackend } from '../../podnet/backends/open-backend.ts';
import { renderMasquerade } from '../../podnet/masquerade/ruleset.ts';
import type { NodeLease } from '../../podnet/node-lease.ts';
import { PodNetwork } from '../../podnet/pod-network.ts';
import { NftablesBackend } from '../../proxy/backends/nftables/backend.ts';
import type { BackendSettings } from '../../podnet/network-config.ts';
import { renderTunnelRules } from '../../podnet/tunnel/ruleset.ts';
import { chooseNodeAddress, NO_PREFERENCE } from '../../podnet/node-address.ts';
import { readNodeFacts } from '../../podnet/node-facts.ts';
import { describeLocalNode } from '../../podnet/underlay.ts';
import { retry } from '../../timing/backoff.ts';
import type { MeasuredPath } from './measured-path.ts';
import { NodePair, type BenchNode } from './node-pair.ts';

const NETWORK = Cidr.parse('10.244.0.0/16');
const MASQUERADE_BIT = 14;
const LOGGER = createLogger('bench', 'error');
const WIREGUARD_SOCKET = '/var/run/wireguard/flannel-wg.sock';
const SERVICES = Cidr.parse('10.96.0.0/16');

/**
 * The way that Flatnet builds: the agent's own code on both nodes, and with `rules` its masquerade rules and the service
 * proxy's. When all stands the agents are gone, as after a crash: packets do not notice.
 */
export async function buildFlatnetPath(
  prefix: string,
  settings: BackendSettings,
  rules: boolean,
): Promise<MeasuredPath> {
  const pair = new NodePair(prefix);
  const folder = mkdtempSync(join(tmpdir(), `${prefix}-`));
  const sockets: string[] = [];
  const close = (): void => {
    pair.close();
    for (const socket of sockets) rmSync(socket, { force: true });
    rmSync(folder, { recursive: true });
  };
  try {
    const built: { node: BenchNode; local: LocalNode; opened: OpenedBackend }[] = [];
    for (const [index, node] of pair.nodes.entries()) {
      // Two nodes of one machine must not share the key.
      process.env['WIREGUARD_KEY_FILE'] = join(folder, `key-${index}`);
      const opened = await openBackend(settings, { netns: node.netns.fd, logger: LOGGER });
      built.push({ node, local: localNode(node, index + 1, settings), opened });
    }
    for (const [index, { node, local, opened }] of built.entries()) {
      const there = built[1 - index];
      if (there === undefined) throw new Error('two nodes make a pair');
      await programOnce(node, local, opened, leaseOf(there.opened.backend, there.local));
      // Both have the name that flannel gives the device, and the folder of the sockets knows no namespaces.
      if (existsSync(WIREGUARD_SOCKET)) {
        const socket = WIREGUARD_SOCKET.replace('.sock', `-${prefix}-${index}.sock`);
        renameSync(WIREGUARD_SOCKET, socket);
        sockets.push(socket);
      }
      connectPod(node, local, podMtu([opened.backend], local));
      if (rules) await loadRules(node, local, opened.backend);
    }
    const [client, server] = pair.nodes;
    return { client: client.pod, server: server.pod, serverIp: '10.244.2.2', close };
  } catch (error) {
    close();
    throw error;
  }
}

async function programOnce(
  node: BenchNode,
  local: LocalNode,
  { backend, drivers }: OpenedBackend,
  peer: NodeLease,
): Promise<void> {
  const network = new PodNetwork({
    kernel: node.kernel,
    logger: LOGGER,
    onProblems: (name, problems) => LOGGER.error({ problems: problems.map(describeError) }, name),
    onUnderlayChange: () => undefined,
  });
  network.setLocal(local, { backends: [backend], drivers });
  network.setPeer(peer);
  const stop = new AbortController();
  const running = network.run(stop.signal);
  const podCidr = peer.families.get(4)?.podCidr;
  await retry(
    // The route comes last.
    // eslint-disable-next-line typescript/require-await -- the kernel answers at once
    async () => {
      const routes = node.kernel.routes({ protocol: ROUTE_PROTOCOL });
      if (routes.some(({ destination }) => podCidr?.equals(destination))) return;
      throw new FlatnetError(`node ${local.name} does not reach its peer`, {
        code: 'BENCH',
        retryable: true,
      });
    },
    { attempts: 100, initialMs: 20, maxMs: 100 },
  );
  stop.abort();
  await running;
}

function localNode({ kernel, ip }: BenchNode, index: number, settings: BackendSettings): LocalNode {
  const podCidrs = new Map<IpFamily, Cidr>([[4, Cidr.parse(`10.244.${index}.0/24`)]]);
  const facts = readNodeFacts(kernel);
  const node = `node-${index}`;
  const wish = { node, families: [4] as const, prefer: NO_PREFERENCE, internalIps: [ip], own: [] };
  return describeLocalNode(facts, chooseNodeAddress(facts, wish), {
    name: node,
    config: { networks: new Map([[4, NETWORK]]), subnets: new Map(), backend: settings },
    podCidrs,
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
    {
      mode: 'bridge',
      bridge: 'cni0',
      mtu,
      hairpin: true,
      mac: undefined,
      addresses: [{ ip: podCidr.at(2), prefixLength: 24, gateway: podCidr.at(1) }],
      routes: undefined,
      dns: {},
    },
  );
}
