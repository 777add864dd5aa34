import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { EVENTS, NODES } from '../../../src/cluster/resource-type.ts';
import { Netns } from '../../../src/kernel/netns/netns.ts';
import { SteadyStream } from './backends/steady-stream.ts';
import { removeBuild, SmallCluster } from './small-cluster.ts';

const ECHO = 'icmp[icmptype] == icmp-echo';
const P = 'flannel.alpha.coreos.com/';

/** A new agent on a busy machine. */
const PATIENCE_MS = 20_000;

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

afterAll(removeBuild);

describe.each([
  { backend: { Type: 'vxlan' }, mtu: 1450, device: 'flannel.1' },
  { backend: { Type: 'host-gw' }, mtu: 1500, device: 'eth0' },
])('agents with backend $backend.Type', ({ backend, mtu, device }) => {
  let cluster: SmallCluster;
  let a = '';
  let b = '';
  let ipA = '';
  let ipB = '';

  beforeAll(async () => {
    cluster = await SmallCluster.start({ backend, nodes: 2 });
    for (const node of cluster.nodes) node.startAgent();
    for (const node of cluster.nodes) await node.ready();
    a = cluster.podName('a');
    b = cluster.podName('b');
    ipA = await cluster.node(1).addPod(a);
    ipB = await cluster.node(2).addPod(b);
  });

  afterAll(async () => cluster.stop());

  test('the node is published as flannel publishes it, and is no longer without network', async () => {
    const node = await cluster.client.get(NODES, { name: 'node-1' });
    const annotations = node.metadata?.annotations ?? {};
    expect(annotations[`${P}backend-type`]).toBe(backend.Type);
    expect(annotations[`${P}public-ip`]).toBe('172.30.0.1');
    expect(annotations[`${P}kube-subnet-manager`]).toBe('true');
    const mac = cluster.node(1).kernel.link('flannel.1')?.mac?.toString();
    expect(annotations[`${P}backend-data`]).toBe(
      backend.Type === 'vxlan' ? `{"VNI":1,"VtepMAC":"${mac ?? ''}"}` : 'null',
    );
    const condition = node.status?.conditions?.find(({ type }) => type === 'NetworkUnavailable');
    expect(condition).toMatchObject({ status: 'False', reason: 'FlatnetIsUp' });
    expect(cluster.node(1).file('subnet.env')).toBe(
      `FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=${mtu}\nFLANNEL_IPMASQ=true\n`,
    );
  });

  test('pods of two nodes reach each other, and see the real source address', async () => {
    expect([ipA, ipB]).toEqual(['10.244.1.2', '10.244.2.2']);
    const capture = cluster.inside(b, 'timeout', '5', 'tcpdump', '-n', '-c1', '-i', 'eth0', ECHO);
    const ping = cluster.inside(a, 'ping', '-i', '0.1', '-c', '10', ipB);
    expect(await capture).toContain(`${ipA} > ${ipB}`);
    expect(await ping).toContain(' 0% packet loss');
  });

  test('a packet of the whole MTU passes undivided, a larger one is refused at home', async () => {
    await cluster.inside(a, 'ping', '-c1', '-W2', '-M', 'do', '-s', String(mtu - 28), ipB);
    await expect(
      cluster.inside(a, 'ping', '-c1', '-W1', '-M', 'do', '-s', String(mtu - 27), ipB),
    ).rejects.toThrow(/message too long|Message too long/);
  });

  test('a pod reaches the world as its node', async () => {
    const fabric = cluster.podName('fabric');
    const capture = cluster.inside(fabric, 'timeout', '5', 'tcpdump', '-n', '-c1', '-i', 'underlay', ECHO);
    const ping = cluster.inside(a, 'ping', '-i', '0.1', '-c', '10', '172.30.0.254');
    expect(await capture).toContain('172.30.0.1 > 172.30.0.254');
    expect(await ping).toContain(' 0% packet loss');
  });

  test('an agent killed and started again costs not one packet', async () => {
    const node = cluster.node(1);
    const [here, there] = [Netns.named(a), Netns.named(b)];
    const stream = new SteadyStream({ netns: here }, { netns: there, ip: () => ipB }, 4);
    await node.stopAgent('SIGKILL');
    const before = node.kernel.link(device)?.index;
    node.startAgent();
    await node.ready();
    expect(await stream.end()).toMatchObject({ lost: [], refused: [] });
    here.close();
    there.close();
    expect(node.kernel.link(device)?.index).toBe(before);
  });

  test('SIGTERM ends the agent with 0 and leaves the network', async () => {
    const node = cluster.node(1);
    expect(await node.stopAgent('SIGTERM')).toBe(0);
    await cluster.inside(a, 'ping', '-c1', '-W2', ipB);
    node.startAgent();
    await node.ready();
  });

  test('without API server a restarted agent goes on serving pods', async () => {
    const node = cluster.node(1);
    await cluster.stopApi();
    await node.stopAgent('SIGKILL');
    node.startAgent();
    const c = cluster.podName('c');
    cluster.createNamespace(c);
    await vi.waitFor(async () => expect((await node.plugin('ADD', c)).exitCode).toBe(0), {
      timeout: PATIENCE_MS,
      interval: 50,
    });
    await cluster.inside(c, 'ping', '-c1', '-W2', ipB);
    // Its own part is looked after, too; only of the other nodes nothing new is known.
    await vi.waitFor(async () => {
      expect(await node.http('/readyz?verbose')).toMatch(/\[\+\]podnet ok\n\[-\]nodes failed/);
    }, PATIENCE_MS);
    expect(await node.http('/status')).toContain('"storeFailure":');
    // What it had made for them before comes back as well, where a device carries it.
    if (device !== 'eth0') node.kernel.deleteLink(node.kernel.link(device)?.index ?? 0);
    await vi.waitFor(async () => cluster.inside(c, 'ping', '-c1', '-W1', ipB), PATIENCE_MS);
    expect((await node.plugin('DEL', c)).exitCode).toBe(0);
    await cluster.startApi();
  });
});

describe('what goes wrong around an agent', () => {
  let cluster: SmallCluster;

  beforeAll(async () => {
    cluster = await SmallCluster.start({ backend: { Type: 'vxlan' }, nodes: 2 });
    for (const node of cluster.nodes) node.startAgent();
    for (const node of cluster.nodes) await node.ready();
  });

  afterAll(async () => cluster.stop());

  test('a node with a wrong annotation is reported, the others stay reachable', async () => {
    const annotations = {
      [`${P}kube-subnet-manager`]: 'true',
      [`${P}backend-type`]: 'vxlan',
      [`${P}public-ip`]: 'x',
    };
    await cluster.client.create(NODES, {
      metadata: { name: 'odd', annotations },
      spec: { podCIDRs: ['10.244.9.0/24'] },
    });
    const node = cluster.node(1);
    await vi.waitFor(
      () => expect(node.log).toContain(`node odd: annotation ${P}public-ip is \\"x\\", not an IPv4 address`),
      PATIENCE_MS,
    );
    expect(await node.http('/metrics', 10249)).toContain('flatnet_podnet_node_problems{node="odd"} 1');
    await vi.waitFor(async () => {
      const events = await cluster.client.list(EVENTS, { namespace: 'default' });
      expect(events.items.map(({ message }) => message).join()).toContain('node odd: annotation');
    }, PATIENCE_MS);
    expect(node.kernel.routes({ protocol: 70 }).map(({ destination }) => destination.toString())).toEqual([
      '10.244.2.0/24',
    ]);
    await cluster.client.delete(NODES, { name: 'odd' });
    await vi.waitFor(
      async () => expect(await node.http('/metrics', 10249)).not.toContain('node="odd"'),
      PATIENCE_MS,
    );
  });

  test('a node whose pod CIDR lies within that of another gets none of its traffic, and is reported with it', async () => {
    const node = cluster.node(1);
    const annotations = {
      [`${P}kube-subnet-manager`]: 'true',
      [`${P}backend-type`]: 'vxlan',
      [`${P}backend-data`]: '{"VNI":1,"VtepMAC":"1e:00:00:00:00:77"}',
      [`${P}public-ip`]: '172.30.0.77',
    };
    const podCIDRs = ['10.244.2.0/25'];
    await cluster.client.create(NODES, { metadata: { name: 'inner', annotations }, spec: { podCIDRs } });
    await vi.waitFor(async () => {
      const { peers } = JSON.parse(await node.http('/status')) as { peers: { node: string }[] };
      const [inner, rightful] = ['inner', 'node-2'].map((name) => peers.find((peer) => peer.node === name));
      expect(inner).toMatchObject({ problems: [expect.stringContaining('which had it first')] });
      expect(inner).not.toHaveProperty('by');
      expect(rightful).toMatchObject({ by: 'vxlan 1', problems: [expect.stringContaining('left out')] });
    }, PATIENCE_MS);
    const routes = node.kernel.routes({ protocol: 70 }).map(({ destination }) => destination.toString());
    expect(routes).toEqual(['10.244.2.0/24']);
    await cluster.client.delete(NODES, { name: 'inner' });
    await vi.waitFor(async () => expect(await node.http('/status')).not.toContain('left out'), PATIENCE_MS);
  });

  test('a node that leaves the cluster is forgotten, one that comes back is reached again', async () => {
    const [one, two] = [cluster.node(1), cluster.node(2)];
    const known = (): string[] =>
      one.kernel.routes({ protocol: 70 }).map(({ destination }) => destination.toString());
    await cluster.client.delete(NODES, { name: two.name });
    await vi.waitFor(() => expect(known()).toEqual([]), PATIENCE_MS);
    await cluster.register(two);
    await vi.waitFor(() => expect(known()).toEqual(['10.244.2.0/24']), PATIENCE_MS);
  });

  test('a node without pod CIDR waits, says so, and goes on when it gets one', async () => {
    const [late] = cluster.addNodes(1);
    await cluster.client.create(NODES, { metadata: { name: late?.name ?? '' } });
    const body = { status: { addresses: [{ type: 'InternalIP', address: late?.ip }] } };
    await cluster.client.patch(
      NODES,
      { name: 'node-3' },
      { type: 'strategic', body },
      { subresource: 'status' },
    );
    late?.startAgent();
    await vi.waitFor(async () => {
      expect(await late?.http('/readyz')).toContain(
        '[-]podnet failed: node node-3: spec.podCIDRs has no IPv4 range yet',
      );
    }, PATIENCE_MS);
    const podCIDRs = ['10.244.3.0/24'];
    await cluster.client.patch(
      NODES,
      { name: 'node-3' },
      { type: 'merge', body: { spec: { podCIDR: podCIDRs[0], podCIDRs } } },
    );
    await late?.ready();
    expect(late?.kernel.link('flannel.1')?.up).toBe(true);
  });

  test('a node that runs flannel is understood, and understands', async () => {
    const [flannel] = cluster.addNodes(1);
    const [one, index] = [cluster.node(1), flannel?.index ?? 0];
    const annotations = (await cluster.client.get(NODES, { name: one.name })).metadata?.annotations ?? {};
    const published = JSON.parse(annotations[`${P}backend-data`] ?? '') as { VNI: number; VtepMAC: string };
    // What flanneld's vxlan backend does, said with ip(8): device, address, neighbour, forwarding entry, route.
    const lines = [
      `ip link add flannel.1 address 1e:00:00:00:00:04 mtu 1450 type vxlan id ${published.VNI} local ${flannel?.ip ?? ''} dev eth0 dstport 8472 nolearning`,
      `ip address add 10.244.${index}.0/32 dev flannel.1`,
      'ip link set flannel.1 up',
      `ip neigh replace 10.244.1.0 lladdr ${published.VtepMAC} dev flannel.1 nud permanent`,
      `bridge fdb replace ${published.VtepMAC} dev flannel.1 dst ${annotations[`${P}public-ip`] ?? ''} self permanent`,
      'ip route replace 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink',
    ];
    for (const line of lines) await flannel?.run(line.split(' ')[0] ?? '', line.split(' ').slice(1));
    await cluster.client.create(NODES, {
      metadata: {
        name: 'flannel-node',
        annotations: {
          [`${P}backend-data`]: '{"VNI":1,"VtepMAC":"1e:00:00:00:00:04"}',
          [`${P}backend-type`]: 'vxlan',
          [`${P}kube-subnet-manager`]: 'true',
          [`${P}public-ip`]: flannel?.ip ?? '',
        },
      },
      spec: { podCIDR: `10.244.${index}.0/24`, podCIDRs: [`10.244.${index}.0/24`] },
    });
    const pod = cluster.podName('interop');
    const ip = await one.addPod(pod);
    const ping = async () => cluster.inside(pod, 'ping', '-c1', '-W1', `10.244.${index}.0`);
    expect(await vi.waitFor(ping, PATIENCE_MS)).toContain(' 0% packet loss');
    expect((await flannel?.run('ping', ['-c1', '-W1', ip]))?.stdout).toContain(' 0% packet loss');
  });

  test('a port that is taken is named, and pods are served all the same', async () => {
    const node = cluster.node(1);
    await node.stopAgent('SIGTERM');
    const squatter = node.occupy(10249);
    node.startAgent();
    await node.ready();
    expect(node.log).toMatch(/metricsBindAddress 127\.0\.0\.1:10249: cannot listen; the rest goes on/);
    squatter();
    await node.addPod(cluster.podName('served'));
  });

  test('masquerade off, a larger MTU than there is taken as what there is, and a configuration that is wrong ends the agent with its reason', async () => {
    const node = cluster.node(2);
    await node.stopAgent('SIGTERM');
    node.startAgent({ network: { Network: '10.96.0.0/12', Backend: { Type: 'vxlan' } } });
    expect(await node.agentEnd()).toBe(1);
    expect(node.log).toContain('overlaps the Service range 10.96.0.0/16');
    node.startAgent({
      ipMasq: false,
      network: { ...cluster.network, Backend: { Type: 'vxlan', MTU: 9000 } },
    });
    await node.ready();
    expect(node.kernel.link('flannel.1')?.mtu).toBe(1450);
    expect(await node.http('/status')).toContain(
      'network.Backend.MTU 9000 is larger than the 1500 bytes of eth0',
    );
    expect((await node.run('nft', ['list', 'tables'])).stdout).not.toContain('flatnet-masquerade');
  });
});
