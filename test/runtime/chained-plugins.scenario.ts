import { existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { removeBuild, SmallCluster } from '../conformance/podnet/small-cluster.ts';
import type { SmallNode } from '../conformance/podnet/small-node.ts';
import { Containerd } from './containerd.ts';
import { webPod, type WebPod } from './web-pod.ts';

// Debian's plugins behind Flatnet's in one list, which an administrator has written: they take the capabilities that
// Flatnet's own list claims for its plugin.

let cluster: SmallCluster;
let node: SmallNode;
let runtime: Containerd;
let pod: WebPod;

const firewallRules = async (): Promise<string> => (await node.run('iptables-save', [])).stdout;

beforeAll(async () => {
  cluster = await SmallCluster.start({ backend: { Type: 'vxlan' }, nodes: 1 });
  node = cluster.node(1);
  const [binDir, confDir] = [join(node.folder, 'bin'), join(node.folder, 'net.d')];
  runtime = await Containerd.start({ netns: node.netns.fd, binDir, confDir });
  node.startAgent();
  await node.ready();
  for (const name of ['portmap', 'bandwidth', 'tuning', 'firewall']) {
    if (!existsSync(join(binDir, name))) symlinkSync(join('/usr/lib/cni', name), join(binDir, name));
  }
  const list = {
    cniVersion: '1.0.0',
    name: 'cbr0',
    plugins: [
      { type: 'flatnet', socketPath: join(node.folder, 'cni.sock') },
      { type: 'portmap', snat: true, capabilities: { portMappings: true } },
      { type: 'bandwidth', capabilities: { bandwidth: true } },
      { type: 'tuning', sysctl: { 'net.core.somaxconn': '500' }, mtu: 1400 },
      { type: 'firewall', backend: 'iptables' },
    ],
  };
  writeFileSync(join(confDir, '05-by-hand.conflist'), JSON.stringify(list));
  await vi.waitFor(
    async () => {
      const ready = (await runtime.cri.conditions()).find(({ type }) => type === 'NetworkReady');
      if (ready?.status !== true)
        throw new Error(ready?.message ?? 'containerd does not tell of its network');
    },
    { timeout: 10_000 },
  );
  pod = await webPod(runtime.cri, {
    name: 'chained',
    portMappings: [{ protocol: 'TCP', container_port: 80, host_port: 8080 }],
    annotations: { 'kubernetes.io/ingress-bandwidth': '20M', 'kubernetes.io/egress-bandwidth': '50M' },
  });
});

afterAll(async () => {
  await runtime?.stop();
  await cluster?.stop();
  removeBuild();
});

describe("Debian's plugins behind Flatnet's", () => {
  test('portmap leads the port to the pod, and Flatnet leaves that to it', async () => {
    const answer = await cluster.inside(cluster.podName('fabric'), 'curl', '-s', `http://${node.ip}:8080/`);
    expect(answer.trim()).toBe('chained');
    expect(await firewallRules()).toMatch(/CNI-DN-\w+ .*--dport 8080 -j DNAT --to-destination/);
    expect((await node.run('nft', ['list', 'tables'])).stdout).not.toContain('flatnet-hostports');
  });

  test("bandwidth finds the node's end of the veth and limits it", async () => {
    const { stdout } = await node.run('tc', ['qdisc', 'show']);
    expect(stdout).toMatch(/tbf .*dev veth\w+ root .*rate 20Mbit/);
    expect(stdout).toMatch(/tbf .*dev bwp\w+ root .*rate 50Mbit/);
  });

  test('tuning sets what it is told in the pod', async () => {
    expect((await runtime.cri.exec(pod.container, 'cat', '/proc/sys/net/core/somaxconn')).trim()).toBe('500');
    expect(await runtime.cri.exec(pod.container, 'ip', 'link', 'show', 'dev', 'eth0')).toContain('mtu 1400');
  });

  test("firewall lets the pod's address through", async () => {
    expect(await firewallRules()).toContain(`-A CNI-FORWARD -s ${pod.addresses[0]}/32 -j ACCEPT`);
  });

  test('all of it is gone with the pod', async () => {
    await runtime.cri.stopPod(pod.id);
    const rules = await firewallRules();
    expect(rules).not.toContain('--dport 8080');
    expect(rules).not.toContain(`${pod.addresses[0]}/32`);
    const left = node.kernel
      .links()
      .filter(({ kind, name }) => (kind === 'veth' && name !== 'eth0') || kind === 'ifb');
    expect(left).toEqual([]);
    expect(readdirSync(join(node.folder, 'networks', 'cbr0'))).not.toContain(pod.addresses[0]);
    expect(readFileSync(join(node.folder, 'net.d', '10-flatnet.conflist'), 'utf8')).toContain(
      '"portMappings": true',
    );
  });
});
