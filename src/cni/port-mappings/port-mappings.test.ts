import { beforeEach, describe, expect, test } from 'vitest';
import { FakeConntrack } from '../../kernel/conntrack/fake.ts';
import { addressField, endpointData, portField, protocolField } from '../../kernel/nft/field.ts';
import { FakeNft } from '../../kernel/nft/fake.ts';
import { Ip } from '../../net/ip.ts';
import type { AttachmentRecord } from '../attachments/attachment-record.ts';
import { NO_RUNTIME_CONFIG, type PortMapping } from '../protocol/runtime-config.ts';
import { HostPortClaims, hostPortsOf } from './host-port.ts';
import { PortsTableKeeper } from './ports-table-keeper.ts';
import { portSets } from './ports-table.ts';
import { forgetEarlierFlows, forgetFlowsToPod } from './mapped-flows.ts';

function record(name: string, ips: readonly string[], ...mappings: Partial<PortMapping>[]): AttachmentRecord {
  return {
    containerId: `container-of-${name}`,
    ifName: 'eth0',
    network: 'cbr0',
    netns: `/run/netns/${name}`,
    pod: `default/${name}`,
    mode: 'bridge',
    hostInterface: `veth-${name}`,
    addresses: ips.map((ip) => ({
      ip: Ip.parse(ip),
      prefixLength: 24,
      gateway: Ip.parse(ip.includes(':') ? 'fd00::1' : '10.244.1.1'),
    })),
    runtimeConfig: {
      ...NO_RUNTIME_CONFIG,
      portMappings: mappings.map((mapping) => ({
        hostPort: 8080,
        containerPort: 80,
        protocol: 'tcp',
        hostIp: undefined,
        ...mapping,
      })),
    },
  };
}

describe('the ports that a pod asks for', () => {
  test('stand in every family of which the pod has an address', () => {
    const ports = hostPortsOf(record('a', ['10.244.1.5', 'fd00::5'], {}));
    expect(ports.map(({ family, podIp }) => [family, podIp])).toEqual([
      [4, '10.244.1.5'],
      [6, 'fd00::5'],
    ]);
  });

  test('stand at an address of the node in that family alone', () => {
    const ports = hostPortsOf(record('a', ['10.244.1.5', 'fd00::5'], { hostIp: Ip.parse('192.0.2.1') }));
    expect(ports).toMatchObject([{ family: 4, hostIp: '192.0.2.1' }]);
  });

  test('0.0.0.0 means every address of IPv4', () => {
    const ports = hostPortsOf(record('a', ['10.244.1.5', 'fd00::5'], { hostIp: Ip.parse('0.0.0.0') }));
    expect(ports).toMatchObject([{ family: 4, hostIp: undefined }]);
  });

  test('an address of a family that the pod lacks is an error that says so', () => {
    expect(() => hostPortsOf(record('a', ['10.244.1.5'], { hostIp: Ip.parse('2001:db8::1') }))).toThrow(
      'hostIP 2001:db8::1 of hostPort 8080/tcp is IPv6, of which the pod has no address',
    );
  });
});

describe('a port of the node has one owner', () => {
  let claims: HostPortClaims;
  beforeEach(() => {
    claims = new HostPortClaims();
  });
  const claim = (name: string, mapping: Partial<PortMapping>): void => {
    const owner = record(name, ['10.244.1.5'], mapping);
    claims.claim(owner, hostPortsOf(owner));
  };

  test.each([
    ['the same port', {}, {}],
    ['one address and all addresses', { hostIp: Ip.parse('192.0.2.1') }, {}],
    ['all addresses and one address', {}, { hostIp: Ip.parse('192.0.2.1') }],
    ['the same address', { hostIp: Ip.parse('192.0.2.1') }, { hostIp: Ip.parse('192.0.2.1') }],
  ])('%s: the second pod is told of the first', (_, one, other) => {
    claim('one', one);
    expect(() => claim('two', other)).toThrow(
      /8080\/tcp of pod default\/two \(container container-of-two\) is taken by pod default\/one \(container container-of-one\)/,
    );
  });

  test.each([
    ['another protocol', {}, { protocol: 'udp' as const }],
    ['another port', {}, { hostPort: 8081 }],
    ['another address', { hostIp: Ip.parse('192.0.2.1') }, { hostIp: Ip.parse('192.0.2.2') }],
  ])('%s is another port', (_, one, other) => {
    claim('one', one);
    expect(() => claim('two', other)).not.toThrow();
  });

  test('is free again when its owner is gone', () => {
    const one = record('one', ['10.244.1.5'], {});
    claims.claim(one, hostPortsOf(one));
    claims.release(one, hostPortsOf(one));
    expect(() => claim('two', {})).not.toThrow();
  });

  test('a pod that asks for thousands holds up nobody', () => {
    const many = Array.from({ length: 20_000 }, (_, index) => ({ hostPort: 20_000 + index }));
    const greedy = record('greedy', ['10.244.1.5'], ...many);
    const started = performance.now();
    claims.claim(greedy, hostPortsOf(greedy));
    expect(performance.now() - started).toBeLessThan(2_000);
    expect(() => claim('two', { hostPort: 39_999 })).toThrow('is taken by pod default/greedy');
  });

  test('one pod that asks twice is told so', () => {
    const greedy = record('greedy', ['10.244.1.5'], {}, { containerPort: 81 });
    expect(() => claims.claim(greedy, hostPortsOf(greedy))).toThrow('is asked for twice');
  });
});

describe('the table', () => {
  const nft = new FakeNft();
  const keeper = new PortsTableKeeper(nft, 4);
  const sets = portSets(4);
  const one = hostPortsOf(record('one', ['10.244.1.5'], {}));
  const two = hostPortsOf(
    record('two', ['10.244.1.6'], { hostPort: 53, protocol: 'udp', containerPort: 5353 }),
  );
  const key = protocolField('TCP') + portField(8080);

  test('is not there while no pod asks for a port', () => {
    keeper.sync([]);
    expect(nft.hasTable(sets.table)).toBe(false);
  });

  test('is made with the first port', () => {
    keeper.add(one, one);
    expect(nft.elements(sets.anywhere)).toEqual([{ key, value: endpointData('10.244.1.5', 80) }]);
    expect(keeper.missing(one)).toEqual([]);
  });

  test('gets the next pod by one transaction of elements alone', () => {
    const before = nft.transactions.length;
    keeper.add(two, [...one, ...two]);
    const made = nft.transactions.slice(before);
    expect(made).toHaveLength(1);
    expect(made[0]?.every((change) => 'elements' in change)).toBe(true);
    expect(nft.elements(sets.anywhere)).toHaveLength(2);
  });

  test('is put right by element, whatever was done to it', () => {
    nft.commitElsewhere([
      { operation: 'delete', set: sets.anywhere, elements: [{ key, value: endpointData('10.244.1.5', 80) }] },
      { operation: 'add', set: sets.anywhere, elements: [{ key, value: endpointData('10.244.1.9', 80) }] },
      { operation: 'add', set: sets.hairpins, elements: [{ key: addressField('192.0.2.1').repeat(2) }] },
    ]);
    expect(keeper.missing(one)).toEqual(one);
    expect(keeper.sync([...one, ...two])).toBe(true);
    expect(keeper.missing([...one, ...two])).toEqual([]);
    expect(nft.elements(sets.hairpins)).toHaveLength(4);
    expect(keeper.sync([...one, ...two])).toBe(false);
  });

  test('is made anew where it was deleted, also when an ADD finds that out', () => {
    nft.commitElsewhere([{ operation: 'delete-table', table: sets.table }]);
    keeper.add(two, [...one, ...two]);
    expect(keeper.missing([...one, ...two])).toEqual([]);
  });

  test('loses a pod that goes, and no other', () => {
    keeper.remove(one, two);
    expect(keeper.missing(one)).toEqual(one);
    expect(keeper.missing(two)).toEqual([]);
  });
});

const flow = (source: string, reached: string, port = 53) => ({
  family: 4 as const,
  protocol: 17,
  original: { source, sourcePort: 1000, destination: '192.0.2.1', destinationPort: port },
  reply: { source: reached, sourcePort: 53, destination: source, destinationPort: 1000 },
  id: undefined,
});

describe('UDP flows', () => {
  const ports = hostPortsOf(record('a', ['10.244.1.5'], { hostPort: 53, protocol: 'udp' }));

  test('to a pod that is gone are forgotten, others not', () => {
    const gone = flow('198.51.100.1', '10.244.1.5');
    const others = [flow('198.51.100.2', '10.244.1.6'), flow('198.51.100.3', '10.244.1.5', 54)];
    const conntrack = new FakeConntrack();
    conntrack.flows = [gone, ...others];
    forgetFlowsToPod(conntrack, ports);
    expect(conntrack.flows).toEqual(others);
  });

  test('that began before the pod was there are forgotten, unless they go to another machine', () => {
    const early = flow('198.51.100.1', '192.0.2.1');
    const elsewhere = { ...early, original: { ...early.original, destination: '203.0.113.1' } };
    const conntrack = new FakeConntrack();
    conntrack.flows = [early, elsewhere];
    forgetEarlierFlows(conntrack, ports, () => new Set(['192.0.2.1']));
    expect(conntrack.flows).toEqual([elsewhere]);
  });
});
