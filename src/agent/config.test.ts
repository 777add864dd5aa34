import { describe, expect, test } from 'vitest';
import { parseConfig } from './config.ts';

const HEAD = 'apiVersion: flatnet.dev/v1alpha1\nkind: AgentConfiguration\n';
const NETWORK = 'network: {Network: 10.244.0.0/16, Backend: {Type: vxlan}}\n';

/** Each level holds the one before ten times. */
function bomb(levels: number): string {
  const lines = ['l0: &l0 [x]'];
  for (let level = 1; level <= levels; level += 1) {
    lines.push(
      `l${level}: &l${level} [${Array(10)
        .fill(`*l${level - 1}`)
        .join(', ')}]`,
    );
  }
  return `${lines.join('\n')}\n`;
}

describe('AgentConfiguration', () => {
  test('the shortest one has the defaults of flannel and kube-proxy', () => {
    const config = parseConfig(HEAD + NETWORK, 'agent.yaml');
    expect(config.cni).toMatchObject({
      networkName: 'cbr0',
      bridge: 'cni0',
      socketPath: '/run/flatnet/cni.sock',
    });
    expect(config.healthzBindAddress?.port).toBe(10256);
    expect(config.metricsBindAddress?.host.toString()).toBe('127.0.0.1');
    expect(config.proxy).toMatchObject({ enabled: true, mode: 'nftables', nftables: { masqueradeBit: 14 } });
    expect(config.ipMasq).toBe(true);
  });

  test("a network written as flannel's net-conf.json (JSON is YAML)", () => {
    const json = JSON.stringify({ Network: '10.244.0.0/16', Backend: { Type: 'host-gw' } });
    expect(parseConfig(`${HEAD}network: ${json}\n`, 'x').network?.backend.type).toBe('host-gw');
  });

  test.each([
    ['flatnet', /cni\.chainedPlugins\[0\]\.type: flatnet is this plugin.*leave it out/],
    ['flannel', /cni\.chainedPlugins\[0\]\.type: flannel is this plugin/],
    ['..', /cni\.chainedPlugins\[0\]\.type: "\.\." is not the name of a plugin: name a file/],
    ['../../bin/sh', /cni\.chainedPlugins\[0\]\.type/],
    ['', /cni\.chainedPlugins\[0\]\.type/],
    ['a b', /cni\.chainedPlugins\[0\]\.type/],
  ])('a chained plugin %j is refused with the field and the remedy', (type, words) => {
    const text = `cni: {chainedPlugins: [{type: ${JSON.stringify(type)}}]}\n`;
    expect(() => parseConfig(HEAD + NETWORK + text, 'agent.yaml')).toThrow(words);
  });

  test('chained plugins stand as they were written', () => {
    const text = 'cni: {chainedPlugins: [{type: tuning, sysctl: {net.core.somaxconn: "1024"}}]}\n';
    expect(parseConfig(HEAD + NETWORK + text, 'agent.yaml').cni.chainedPlugins).toEqual([
      { type: 'tuning', sysctl: { 'net.core.somaxconn': '1024' } },
    ]);
  });

  test.each([
    ['an alias of nothing', 'iface: *nothing\n'],
    ['aliases that multiply', bomb(9)],
    ['a key twice', 'iface: a\niface: b\n'],
    ['two documents', `---\n${HEAD}`],
  ])('%s is an error of the configuration', (_, text) => {
    const parse = (): unknown => parseConfig(HEAD + NETWORK + text, 'agent.yaml');
    expect(parse).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }));
    expect(parse).toThrow(/^agent\.yaml: ./);
  });

  test('an empty address switches a server off, as with kube-proxy', () => {
    const config = parseConfig(
      `${HEAD}${NETWORK}metricsBindAddress: ""\nhealthzBindAddress: "[::]:1"\n`,
      'x',
    );
    expect(config.metricsBindAddress).toBeUndefined();
    expect(config.healthzBindAddress?.host.family).toBe(6);
  });

  test.each([
    [HEAD, 'agent.yaml: network: is missing'],
    [`${HEAD}${NETWORK}publicIP: 127.0.0.1\n`, 'publicIP: 127.0.0.1 is no address of a node'],
    [`${HEAD}${NETWORK}publicIP: fd00::1\n`, 'publicIP: fd00::1 is not an IPv4 address'],
    [`${HEAD}${NETWORK}cni: {bridge: ".."}\n`, 'cni.bridge: is not the name of a network device'],
    [`${HEAD}${NETWORK}cni: {bridge: all}\n`, 'cni.bridge: is not the name of a network device'],
    [`${HEAD}${NETWORK}cni: {networkName: ${'a'.repeat(300)}}\n`, 'cni.networkName: is not the name'],
    [`${HEAD}${NETWORK}netwerk: 1\n`, 'agent.yaml: netwerk: unknown field; did you mean network?'],
    [`${HEAD}${NETWORK}cni: {brigde: cni0}\n`, 'cni.brigde: unknown field; did you mean cni.bridge?'],
    [
      `${HEAD}${NETWORK}proxy: {mode: ebpf}\n`,
      'proxy.mode: "ebpf" is not one of userspace, iptables, ipvs, nftables',
    ],
    [
      `${HEAD}${NETWORK}proxy: {healthzBindAddress: ""}\n`,
      'proxy.healthzBindAddress: unknown field; did you mean healthzBindAddress?',
    ],
    [
      `${HEAD}${NETWORK}proxy: {nftables: {masqueradeBit: 32}}\n`,
      'proxy.nftables.masqueradeBit: must be a whole number from 0 to 31',
    ],
    [
      `${HEAD}${NETWORK}metricsBindAddress: localhost\n`,
      'metricsBindAddress: "localhost" is not an address and port',
    ],
    [
      `${HEAD}network: {Network: 10.244.0.0/16, Backend: {Type: ipsec}}\n`,
      'network.Backend.Type: unknown backend "ipsec"',
    ],
    [`${HEAD}${NETWORK}publicIP: fd00::1\n`, 'publicIP: fd00::1 is not an IPv4 address'],
    [
      `${HEAD}${NETWORK}serviceCIDRs: [10.244.128.0/20]\n`,
      'network.Network 10.244.0.0/16 overlaps the Service range 10.244.128.0/20',
    ],
    [
      `apiVersion: v1\nkind: Pod\n${NETWORK}`,
      'apiVersion: must be flatnet.dev/v1alpha1; kind: must be AgentConfiguration',
    ],
    ['a: [', 'agent.yaml: Flow sequence'],
    ['', 'agent.yaml: Invalid input'],
  ])('%j is refused by file and field', (text, message) => {
    expect(() => parseConfig(text, 'agent.yaml')).toThrow(message);
  });
});
