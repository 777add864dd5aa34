import { hash } from 'node:crypto';
import type { ServicePort } from '../../services/service-port.ts';

/** Chains that kube-proxy has whatever Services there are (pkg/proxy/iptables/proxier.go). */
export const SERVICES = 'KUBE-SERVICES';
export const EXTERNAL_SERVICES = 'KUBE-EXTERNAL-SERVICES';
export const NODE_PORTS = 'KUBE-NODEPORTS';
export const POSTROUTING = 'KUBE-POSTROUTING';
export const MARK_MASQ = 'KUBE-MARK-MASQ';
export const FORWARD = 'KUBE-FORWARD';
export const PROXY_FIREWALL = 'KUBE-PROXY-FIREWALL';
export const CANARY = 'KUBE-PROXY-CANARY';
/** kubelet's, and made by kube-proxy too where it is missing. */
export const KUBELET_FIREWALL = 'KUBE-FIREWALL';
/** Not kube-proxy's, which knows a single pod range: marks what comes from none of several. */
export const MARK_OFF_CLUSTER = 'KUBE-MARK-OFFCLUSTER';

const SERVICE_CHAIN = /^KUBE-(SVC|SVL|EXT|FW|SEP)-/;

/** Whether a chain belongs to a service port or to one of its endpoints. */
export function isServiceChain(chain: string): boolean {
  return SERVICE_CHAIN.test(chain);
}

/** `namespace/name:port`, or `namespace/name` for a port without a name. */
export function portText(port: ServicePort): string {
  return port.portName === '' ? port.service : `${port.service}:${port.portName}`;
}

export interface PortChains {
  readonly cluster: string;
  readonly local: string;
  readonly external: string;
  readonly firewall: string;
  readonly endpoint: (endpoint: string) => string;
}

/** `name` as `portText` gives it, `protocol` in lower case, `endpoint` as `address:port` or `[address]:port`. */
export function portChains(name: string, protocol: string): PortChains {
  const id = digest(name + protocol);
  return {
    cluster: `KUBE-SVC-${id}`,
    local: `KUBE-SVL-${id}`,
    external: `KUBE-EXT-${id}`,
    firewall: `KUBE-FW-${id}`,
    endpoint: (endpoint) => `KUBE-SEP-${digest(name + protocol + endpoint)}`,
  };
}

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
/** Two characters for every ten bits. */
const PAIRS = Array.from({ length: 1024 }, (_, bits) => BASE32.charAt(bits >> 5) + BASE32.charAt(bits & 31));

/** The first 16 characters of the SHA-256 in base32 (RFC 4648 section 6): 80 bits. There are many of them to make. */
function digest(text: string): string {
  const bytes = hash('sha256', text, 'buffer');
  let result = '';
  for (let at = 0; at < 10; at += 5) {
    const [a = 0, b = 0, c = 0, d = 0, e = 0] = bytes.subarray(at, at + 5);
    result += PAIRS[(a << 2) | (b >> 6)] ?? '';
    result += PAIRS[((b & 63) << 4) | (c >> 4)] ?? '';
    result += PAIRS[((c & 15) << 6) | (d >> 2)] ?? '';
    result += PAIRS[((d & 3) << 8) | e] ?? '';
  }
  return result;
}
