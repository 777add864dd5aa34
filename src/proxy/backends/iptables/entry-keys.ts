import type { ServicePort } from '../../services/service-port.ts';
import { portText } from './chain-names.ts';

/** What only one service port can have; `what` names it for people. */
export interface EntryKey {
  readonly key: string;
  readonly what: string;
}

/** `protocol` in lower case. */
export function entryKey(address: string, protocol: string, port: number): string {
  return `${address} ${protocol} ${port}`;
}

export function nodePortKey(protocol: string, nodePort: number): string {
  return `${protocol} ${nodePort}`;
}

/** Chains are named for it: two ports of a Service with one name and protocol would share theirs. */
export function nameKey(port: ServicePort): string {
  return `${portText(port)} ${port.protocol}`;
}

/** Everything that a service port asks for; its name first. */
export function keysOf(port: ServicePort): EntryKey[] {
  const protocol = port.protocol.toLowerCase();
  const keys = [{ key: nameKey(port), what: `${port.protocol} port named "${port.portName}"` }];
  for (const address of new Set([port.address, ...port.externalIps, ...port.loadBalancerIps])) {
    const what = `${address} ${port.protocol} port ${port.port}`;
    keys.push({ key: entryKey(address, protocol, port.port), what });
  }
  if (port.nodePort !== 0) {
    const what = `node port ${port.protocol} ${port.nodePort}`;
    keys.push({ key: nodePortKey(protocol, port.nodePort), what });
  }
  return keys;
}
