import { afterEach, expect, test, vi } from 'vitest';
import { commandWithFlanneldFlags, overridesOf, type FlanneldFlags } from './flanneld-flags.ts';

afterEach(() => vi.unstubAllEnvs());

/** What a command line without a file makes of the configuration. */
function given(line: string, alone = true): Readonly<Record<string, unknown>> {
  let flags: FlanneldFlags = {};
  const command = commandWithFlanneldFlags('agent').action((options: FlanneldFlags) => {
    flags = options;
  });
  command.parse(line.split(' '), { from: 'user' });
  return overridesOf(flags, alone);
}

test("kube-flannel's own command line", () => {
  expect(given('--ip-masq --kube-subnet-mgr')).toEqual({
    ipMasq: true,
    netConfigPath: '/etc/kube-flannel/net-conf.json',
    network: undefined,
    store: {},
    proxy: { enabled: false },
  });
});

test('with one dash, values behind a blank or an equals sign, lists in their order', () => {
  const line =
    '-iface=eth1 --iface eth0 -iface-regex ^ens -public-ip 203.0.113.7 --kube-subnet-mgr=false -ip-masq';
  expect(given(line)).toMatchObject({
    iface: ['eth1', 'eth0'],
    ifaceRegex: ['^ens'],
    publicIP: '203.0.113.7',
    ipMasq: true,
  });
});

test('etcd, as in the guides', () => {
  const line =
    '--etcd-endpoints=https://10.0.0.1:2379,https://10.0.0.2:2379 --etcd-cafile=/ca.pem --etcd-prefix=/coreos.com/network';
  expect(given(line)).toEqual({
    ipMasq: false,
    network: undefined,
    store: {
      etcd: {
        endpoints: ['https://10.0.0.1:2379', 'https://10.0.0.2:2379'],
        caFile: '/ca.pem',
        prefix: '/coreos.com/network',
      },
    },
    proxy: { enabled: false },
  });
});

test.each([
  ['--healthz-port=8081', '0.0.0.0:8081'],
  ['--healthz-ip=:: --healthz-port=8081', '[::]:8081'],
  ['--healthz-port=0', ''],
])('%s', (line, expected) => {
  expect(given(line)['healthzBindAddress']).toBe(expected);
});

test('beside a file only what is given counts', () => {
  expect(given('--iface eth1', false)).toEqual({ iface: ['eth1'] });
});

test('the environment speaks where the command line does not', () => {
  vi.stubEnv('FLANNELD_PUBLIC_IP', '198.51.100.7');
  vi.stubEnv('FLANNELD_IFACE', 'eth3');
  expect(given('--ip-masq')).toMatchObject({ publicIP: '198.51.100.7', iface: ['eth3'] });
  expect(given('--public-ip 203.0.113.7')).toMatchObject({ publicIP: '203.0.113.7' });
});
