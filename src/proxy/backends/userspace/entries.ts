import { Ip } from '../../../net/ip.ts';
import type { ServicePort } from '../../services/service-port.ts';
import type { Protocol } from '../../services/service-spec.ts';

/** One address and port, or node port, under which a service port is called. */
export interface Entry {
  readonly kind: 'cluster' | 'external' | 'load-balancer' | 'node';
  /** What it claims; no two service ports have the same. */
  readonly key: string;
  /** Undefined for node ports: all addresses of the node that have them. */
  readonly address: string | undefined;
  readonly port: number;
  /** As it is named in a conflict: `10.96.0.1 TCP port 80`, `node port TCP 30080`. */
  readonly what: string;
}

/** All of them; an address that is both an external IP and a load balancer's is the former (no source ranges). */
export function entriesOf(port: ServicePort): Entry[] {
  const entries = new Map<string, Entry>();
  const add = (kind: Entry['kind'], text: string): void => {
    const address = Ip.parse(text).toString();
    const key = addressKey(port.protocol, address, port.port);
    if (entries.has(key)) return;
    const what = `${address} ${port.protocol} port ${port.port}`;
    entries.set(key, { kind, key, address, port: port.port, what });
  };
  add('cluster', port.address);
  for (const address of port.externalIps) add('external', address);
  for (const address of port.loadBalancerIps) add('load-balancer', address);
  if (port.nodePort !== 0) {
    const key = nodeKey(port.protocol, port.family, port.nodePort);
    const what = `node port ${port.protocol} ${port.nodePort}`;
    entries.set(key, { kind: 'node', key, address: undefined, port: port.nodePort, what });
  }
  return [...entries.values()];
}

/** `TCP 10.96.0.1 80`; the address in its canonical text. */
export function addressKey(protocol: Protocol, address: string, port: number): string {
  return `${protocol} ${address} ${port}`;
}

/** `TCP node4 30080`. */
export function nodeKey(protocol: Protocol, family: 4 | 6, port: number): string {
  return `${protocol} node${family} ${port}`;
}
