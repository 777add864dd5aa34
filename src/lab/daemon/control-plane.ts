import type { ClusterAccess } from '../../cluster/access.ts';
import type { KeyPair } from '../apiserver/pki/certificate-authority.ts';

/** What the rest of the lab needs of a control plane, embedded or real. */
export interface ControlPlane {
  /** PEM. */
  readonly certificateAuthority: string;
  /** As the lab's own parts reach it: on the fabric, as cluster administrator. */
  readonly access: ClusterAccess;
  /** Inside of the fabric; `https://172.30.0.1:6443`. */
  readonly server: string;
  clientCertificate(user: string, groups: readonly string[]): KeyPair;
  servingCertificate(name: string, addresses: readonly string[]): KeyPair;
  /** Runs what belongs to it besides the API server; ends with the signal. */
  runControllers(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}

/** On the fabric's address, where nothing else listens. */
export const API_PORT = 6443;
export const CLUSTER_DOMAIN = 'cluster.local';
export const ADMIN = { user: 'kubernetes-admin', groups: ['system:masters'] } as const;

/** Access for parts of this process. */
export function accessWith(server: string, certificateAuthority: string, pair: KeyPair): ClusterAccess {
  return {
    server,
    certificateAuthority,
    namespace: 'default',
    credentials: async () => ({ certificate: pair.certificate, key: pair.key }),
  };
}
