import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { NODES } from '../../../src/cluster/resource-type.ts';
import { SmallCluster } from './small-cluster.ts';

const ECHO = 'icmp[icmptype] == icmp-echo';
const P = 'flannel.alpha.coreos.com/';

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
    const ping = cluster.inside(a, 'ping', '-i', '0.2', '-c', '10', ipB);
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
    const ping = cluster.inside(a, 'ping', '-i', '0.2', '-c', '10', '172.30.0.254');
    expect(await capture).toContain('172.30.0.1 > 172.30.0.254');
    expect(await ping).toContain(' 0% packet loss');
  });

  test('an agent killed and started again costs not one packet', async () => {
    const node = cluster.node(1);
    const ping = cluster.inside(a, 'ping', '-i', '0.02', '-c', '100', '-W', '1', ipB);
    await node.stopAgent('SIGKILL');
    const before = node.kernel.link(device)?.index;
    node.startAgent();
    await node.ready();
    expect(await ping).toContain('100 packets transmitted, 100 received, 0% packet loss');
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
      timeout: 5000,
      interval: 50,
    });
    await cluster.inside(c, 'ping', '-c1', '-W2', ipB);
    expect(await node.http('/readyz?verbose')).toMatch(/\[-\]nodes failed/);
    expect((await node.plugin('DEL', c)).exitCode).toBe(0);
    await cluster.startApi();
  });
});
