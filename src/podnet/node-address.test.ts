import { describe, expect, test } from 'vitest';
import { FakeRouteKernel } from '../kernel/netlink/fake.ts';
import { Cidr } from '../net/cidr.ts';
import { Ip, type IpFamily } from '../net/ip.ts';
import { chooseNodeAddress, NO_PREFERENCE, type AddressPreference } from './node-address.ts';
import { readNodeFacts } from './node-facts.ts';

/** eth0 with the default route, eth1 with two IPv4 addresses and IPv6, and what the pod network has made itself. */
function machine(): FakeRouteKernel {
  const kernel = new FakeRouteKernel();
  const device = (name: string, ...addresses: string[]): number => {
    const link = kernel.addLink({ kind: 'dummy', name, mtu: 1500, up: true })?.index ?? 0;
    for (const text of addresses) {
      const [ip = '', length] = text.split('/');
      kernel.addAddress({ link, ip: Ip.parse(ip), prefixLength: Number(length), noDad: true });
    }
    return link;
  };
  device('flannel.1', '10.244.1.0/32');
  device('cni0', '10.244.1.1/24');
  const eth0 = device('eth0', '172.30.0.1/24');
  device('eth1', '10.20.0.1/16', '10.21.0.1/16', 'fd00:20::1/64');
  kernel.addRoute({ destination: Cidr.parse('0.0.0.0/0'), gateway: Ip.parse('172.30.0.254'), link: eth0 });
  return kernel;
}

interface Asked extends Partial<AddressPreference> {
  readonly internalIps?: readonly Ip[];
  readonly families?: readonly IpFamily[];
}

function chosen({ internalIps = [], families = [4], ...prefer }: Asked): string {
  const facts = readNodeFacts(machine(), prefer.ifaceCanReach);
  const { link, ips, reason } = chooseNodeAddress(facts, {
    node: 'node-1',
    families,
    prefer: { ...NO_PREFERENCE, ...prefer },
    internalIps,
    own: ['cni0'],
  });
  return `${link.name} ${[...ips.values()].map(String).join()}: ${reason}`;
}

describe("the node's address", () => {
  test.each<[string, Asked, string]>([
    ['nothing known', {}, 'eth0 172.30.0.1: the default route leaves by eth0'],
    [
      'the InternalIP',
      { internalIps: [Ip.parse('10.21.0.1')] },
      "eth1 10.21.0.1: eth1 has the Node's InternalIP 10.21.0.1",
    ],
    [
      'an InternalIP that is nowhere',
      { internalIps: [Ip.parse('203.0.113.7')] },
      'eth0 172.30.0.1: the default route leaves by eth0',
    ],
    [
      'a name, against the InternalIP',
      { iface: ['eth1'], internalIps: [Ip.parse('172.30.0.1')] },
      'eth1 10.20.0.1: iface names eth1',
    ],
    ['an address', { iface: ['10.21.0.1'] }, 'eth1 10.21.0.1: iface names 10.21.0.1, an address of eth1'],
    ['the first name that is there', { iface: ['ens3', 'eth1', 'eth0'] }, 'eth1 10.20.0.1: iface names eth1'],
    [
      'names before expressions',
      { iface: ['ens3', 'eth1'], ifaceRegex: ['^eth0$'] },
      'eth1 10.20.0.1: iface names eth1',
    ],
    [
      'an expression for names',
      { ifaceRegex: ['^ens', '^ETH1$', '(?i)^ETH1$'] },
      'eth1 10.20.0.1: iface-regex "(?i)^ETH1$" matches the interface eth1',
    ],
    [
      // An expression for 10.x would match the bridge of the pods otherwise, once it is there.
      'an expression for addresses, pods left alone',
      { ifaceRegex: ['^10[.]'] },
      'eth1 10.20.0.1: iface-regex "^10[.]" matches 10.20.0.1 and 10.21.0.1 of eth1',
    ],
    [
      'an expression for the second address',
      { ifaceRegex: ['^10[.]21[.]'] },
      'eth1 10.21.0.1: iface-regex "^10[.]21[.]" matches 10.21.0.1 of eth1',
    ],
    [
      'what can be reached',
      { ifaceCanReach: Ip.parse('10.21.9.9') },
      'eth1 10.21.0.1: the route to 10.21.9.9 (iface-can-reach) leaves by eth1 from 10.21.0.1',
    ],
    [
      'a network',
      { ifaceCidr: [Cidr.parse('10.0.0.0/8')] },
      'eth1 10.20.0.1: 10.20.0.1 of eth1 is in 10.0.0.0/8 (ifaceCidr)',
    ],
    [
      'an interface to pass over',
      { ifaceRegex: ['^eth'], skipInterface: ['eth0'] },
      'eth1 10.20.0.1: iface-regex "^eth" matches the interface eth1',
    ],
    ['both families', { iface: ['eth1'], families: [4, 6] }, 'eth1 10.20.0.1,fd00:20::1: iface names eth1'],
  ])('is found by %s', (_, asked, expected) => {
    expect(chosen(asked)).toBe(expected);
  });

  test.each<[string, Asked, string]>([
    ['a name that is not there', { iface: ['eth7'] }, 'no interface is as asked for: iface "eth7"'],
    ['an address of the pods', { ifaceRegex: ['^10[.]244'] }, 'no interface is as asked for: iface-regex'],
    ['a network nobody is in', { ifaceCidr: [Cidr.parse('192.0.2.0/24')] }, 'ifaceCidr "192.0.2.0/24"'],
    [
      'an address behind the bridge of the pods',
      { ifaceCanReach: Ip.parse('10.244.1.9') },
      'iface-can-reach "10.244.1.9"',
    ],
    ['a family it lacks', { iface: ['eth0'], families: [6] }, 'interface eth0 has no IPv6 address'],
    ['an expression that is none', { ifaceRegex: ['('] }, '"(" is not a regular expression'],
    ['every interface passed over', { skipInterface: ['.'] }, 'there is no default route'],
  ])('%s is refused', (_, asked, message) => {
    expect(() => chosen(asked)).toThrow(message);
  });

  test('what was asked for in vain tells what there is', () => {
    let hint: unknown;
    try {
      chosen({ iface: ['eth7'] });
    } catch (error) {
      hint = (error as { hint?: unknown }).hint;
    }
    expect(hint).toBe('there are eth0 172.30.0.1, eth1 10.20.0.1 10.21.0.1 fd00:20::1');
  });
});
