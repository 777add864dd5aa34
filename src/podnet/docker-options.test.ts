import { expect, test } from 'vitest';
import { renderDockerOptions } from './docker-options.ts';

const SUBNET_ENV = [
  'FLANNEL_NETWORK=10.244.0.0/16',
  'FLANNEL_SUBNET=10.244.1.1/24',
  'FLANNEL_MTU=1450',
  'FLANNEL_IPMASQ=true',
  '',
].join('\n');

const both = { individual: false, combined: false, key: 'DOCKER_OPTS', ipMasq: true };

test("both forms, as flannel's script writes them", () => {
  expect(renderDockerOptions(SUBNET_ENV, both)).toBe(
    [
      'DOCKER_OPT_BIP="--bip=10.244.1.1/24"',
      'DOCKER_OPT_IPMASQ="--ip-masq=false"',
      'DOCKER_OPT_MTU="--mtu=1450"',
      'DOCKER_OPTS=" --bip=10.244.1.1/24 --ip-masq=false --mtu=1450 "',
      '',
    ].join('\n'),
  );
});

test('one form alone, another variable, and Docker may masquerade', () => {
  const wish = { ...both, combined: true, key: 'DOCKER_NETWORK_OPTIONS', ipMasq: false };
  expect(renderDockerOptions(SUBNET_ENV, wish)).toBe(
    'DOCKER_NETWORK_OPTIONS=" --bip=10.244.1.1/24 --mtu=1450 "\n',
  );
  const noMasquerade = SUBNET_ENV.replace('IPMASQ=true', 'IPMASQ=false');
  expect(renderDockerOptions(noMasquerade, { ...both, individual: true })).toBe(
    'DOCKER_OPT_BIP="--bip=10.244.1.1/24"\nDOCKER_OPT_MTU="--mtu=1450"\n',
  );
});

test.each([
  ['', 'FLANNEL_SUBNET is missing'],
  ['FLANNEL_SUBNET=$(reboot)\n', 'FLANNEL_SUBNET is "$(reboot)"'],
])('a file %j is refused', (text, message) => {
  expect(() => renderDockerOptions(text, both)).toThrow(message);
});
