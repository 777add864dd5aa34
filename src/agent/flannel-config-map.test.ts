import { describe, expect, test } from 'vitest';
import { checkFlannelConfig } from './flannel-config-map.ts';

const NET_CONF = '{ "Network": "10.244.0.0/16", "EnableNFTables": false, "Backend": { "Type": "vxlan" } }';
const CNI_CONF =
  '{ "name": "cbr0", "cniVersion": "0.3.1", "plugins": [{ "type": "flannel", "delegate": { "hairpinMode": true } }] }';

const configMap = (netConf: string, cniConf = CNI_CONF) =>
  [
    'apiVersion: v1',
    'kind: ConfigMap',
    'metadata: {name: kube-flannel-cfg, namespace: kube-flannel}',
    `data:\n  net-conf.json: |\n    ${netConf}\n  cni-conf.json: |\n    ${cniConf}`,
  ].join('\n');

const manifest = (...documents: string[]) =>
  ['apiVersion: v1\nkind: Namespace\nmetadata: {name: kube-flannel}', ...documents].join('\n---\n');

describe("flannel's configuration", () => {
  test('is found in its manifest, both keys', () => {
    const checked = checkFlannelConfig(manifest(configMap(NET_CONF)), 'kube-flannel.yml');
    expect(checked.map(({ name, problems }) => [name, problems])).toEqual([
      ['kube-flannel.yml: ConfigMap kube-flannel/kube-flannel-cfg: net-conf.json', []],
      ['kube-flannel.yml: ConfigMap kube-flannel/kube-flannel-cfg: cni-conf.json', []],
    ]);
    expect(checked[0]?.netConf?.network.backend.type).toBe('vxlan');
  });

  test('is found in a List, as kubectl prints it, and alone', () => {
    const list = { kind: 'List', items: [{ kind: 'ConfigMap', data: { 'net-conf.json': NET_CONF } }] };
    expect(checkFlannelConfig(JSON.stringify(list), 'x')).toHaveLength(1);
    expect(checkFlannelConfig(NET_CONF, 'net-conf.json')[0]?.problems).toEqual([]);
  });

  test.each([
    [configMap('{"Network": "10.244.0.0"}'), 'net-conf.json: Network: "10.244.0.0" is not an IPv4 network'],
    [configMap('{'), 'net-conf.json: is not JSON'],
    [configMap(NET_CONF, '{}'), 'cni-conf.json: name: is missing'],
    [configMap(NET_CONF, '{"name":"cbr0","plugins":[{}]}'), 'cni-conf.json: plugins[0].type: is missing'],
  ])('what is wrong names the ConfigMap and the field', (text, message) => {
    expect(checkFlannelConfig(manifest(text), 'x').flatMap(({ problems }) => problems)).toEqual([
      expect.stringContaining(`x: ConfigMap kube-flannel/kube-flannel-cfg: ${message}`),
    ]);
  });

  test('a file without any is refused', () => {
    expect(() => checkFlannelConfig(manifest(), 'x.yml')).toThrow('x.yml: holds no network configuration');
    expect(() => checkFlannelConfig('', 'x.yml')).toThrow('x.yml');
    expect(() => checkFlannelConfig('a: [', 'x.yml')).toThrow('x.yml');
  });
});
