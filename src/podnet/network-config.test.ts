import { describe, expect, test } from 'vitest';
import { Cidr } from '../net/cidr.ts';
import { checkServiceRanges, networkSchema } from './network-config.ts';

const issues = (input: unknown): string[] =>
  networkSchema.safeParse(input).error?.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`) ??
  [];

describe('net-conf.json', () => {
  test("flannel's own example, with the fields that only its etcd store reads", () => {
    const config = networkSchema.parse({
      Network: '10.0.0.0/8',
      SubnetLen: 20,
      SubnetMin: '10.10.0.0',
      SubnetMax: '10.99.0.0',
      EnableNFTables: false,
      Backend: { Type: 'vxlan', VNI: 7, DirectRouting: true, MTU: 9000 },
    });
    expect([...config.networks.values()].map((cidr) => cidr.toString())).toEqual(['10.0.0.0/8']);
    expect(config.backend).toMatchObject({
      type: 'vxlan',
      vni: 7,
      port: 8472,
      directRouting: true,
      underlayMtu: 9000,
    });
  });

  test('dual stack, and vxlan where no backend is named', () => {
    const config = networkSchema.parse({
      Network: '10.244.0.0/16',
      EnableIPv6: true,
      IPv6Network: 'fd00:10:244::/56',
    });
    expect([...config.networks.keys()]).toEqual([4, 6]);
    expect(config.backend.type).toBe('vxlan');
  });

  test.each<[object, string]>([
    [
      { Network: '10.244.0.0/16', Backend: { Type: 'ipsec' } },
      'Backend.Type: unknown backend "ipsec"; known are vxlan, host-gw',
    ],
    [{ Network: '10.244.0.0/33' }, 'Network: "10.244.0.0/33" is not an IPv4 network'],
    [{ Network: 'fd00::/56' }, 'Network: "fd00::/56" is not an IPv4 network'],
    [{ Network: '10.244.0.0/16', EnableIPv6: true }, 'IPv6Network: missing, although EnableIPv6 is true'],
    [{}, 'Network: missing, although EnableIPv4 is true'],
    [{ Network: '10.244.0.0/16', Backend: { Type: 'vxlan', VNI: 16777216 } }, 'Backend.VNI: Too big'],
    [{ Network: '10.244.0.0/16', Backend: { Type: 'vxlan', Vni: 2 } }, 'Backend: Unrecognized key: "Vni"'],
    [{ Network: '10.244.0.0/16', Backend: { Type: 'host-gw', VNI: 2 } }, 'Backend: Unrecognized key: "VNI"'],
    [
      { Network: '10.244.0.0/16', Backend: { Type: 'vxlan', Learning: 'yes' } },
      'Backend.Learning: Invalid input: expected boolean',
    ],
    [{ Network: '10.244.0.0/16', Subnetlen: 24 }, ': Unrecognized key: "Subnetlen"'],
  ])('%j is refused by name', (input, expected) => {
    expect(issues(input).join('\n')).toContain(expected);
  });

  test('pod and service ranges must not meet', () => {
    const network = networkSchema.parse({ Network: '10.0.0.0/8' });
    expect(() => checkServiceRanges(network, [Cidr.parse('10.96.0.0/16')])).toThrow(
      'network.Network 10.0.0.0/8 overlaps the Service range 10.96.0.0/16',
    );
    expect(() => checkServiceRanges(network, [Cidr.parse('172.20.0.0/16')])).not.toThrow();
  });
});
