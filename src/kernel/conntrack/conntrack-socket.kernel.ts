import { afterEach, beforeEach, expect, test } from 'vitest';
import { run } from '../exec/run.ts';
import { Netns } from '../netns/netns.ts';
import { ConntrackSocket } from './conntrack-socket.ts';

const UDP = 17;

let netns: Netns;
let conntrack: ConntrackSocket;

beforeEach(() => {
  netns = Netns.createAnonymous();
  conntrack = ConntrackSocket.open(netns.fd);
});

afterEach(() => {
  conntrack.close();
  netns.close();
});

/** A client's flow to a service address, as DNAT to an endpoint leaves it. */
async function insertFlow(client: string, service: string, endpoint: string): Promise<void> {
  const original = ['-s', client, '-d', service, '--sport', '4000', '--dport', '53'];
  const reply = ['-r', endpoint, '-q', client, '--reply-port-src', '5353', '--reply-port-dst', '4000'];
  await run('conntrack', ['-I', '-p', 'udp', '-t', '60', ...original, ...reply], { netns: netns.fd });
}

test.each([
  [4, '10.244.1.9', '10.96.0.10', '10.244.1.2'],
  [6, 'fd00:244::9', 'fd00:96::10', 'fd00:244::2'],
] as const)(
  'IPv%i: flows are listed by original destination, and deleted one by one',
  async (family, client, service, endpoint) => {
    await insertFlow(client, service, endpoint);
    await insertFlow(client, client, client);
    const filter = { family, protocol: UDP, destination: service, destinationPort: 53 };
    const [flow, ...others] = conntrack.list(filter);
    expect(others).toEqual([]);
    expect(flow).toMatchObject({
      original: { source: client, sourcePort: 4000, destination: service, destinationPort: 53 },
      reply: { source: endpoint, sourcePort: 5353, destination: client, destinationPort: 4000 },
    });
    const reply = { source: endpoint, sourcePort: 5353, destination: client, destinationPort: 4000 };
    expect(conntrack.findByReply({ family, protocol: UDP, reply })?.original.destination).toBe(service);
    expect(conntrack.findByReply({ family, protocol: UDP, reply: { ...reply, sourcePort: 1 } })).toBe(
      undefined,
    );
    expect(conntrack.list({ ...filter, destinationPort: 54 })).toEqual([]);
    expect(conntrack.list({ family, protocol: UDP })).toHaveLength(2);
    expect(flow !== undefined && conntrack.delete(flow)).toBe(true);
    expect(flow !== undefined && conntrack.delete(flow)).toBe(false);
    expect(conntrack.list({ family, protocol: UDP })).toHaveLength(1);
  },
);
