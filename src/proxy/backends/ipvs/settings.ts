import type { Scheduler } from '../../../kernel/ipvs/objects.ts';
import type { Cidr } from '../../../net/cidr.ts';

/** The fields of KubeProxyConfiguration's section `ipvs` that the mode needs. */
export interface IpvsModeSettings {
  /** Default rr. */
  readonly scheduler?: Scheduler;
  /** Virtual servers with such addresses are somebody else's: they are left alone. */
  readonly excludeCIDRs?: readonly Cidr[];
  /** Answers ARP only for addresses of the interface that is asked: what MetalLB and kube-vip need. Default false. */
  readonly strictARP?: boolean;
  /** Milliseconds; 0 or absent: as the kernel has it. */
  readonly tcpTimeout?: number;
  readonly tcpFinTimeout?: number;
  readonly udpTimeout?: number;
}

/** Holds every address that a Service has, so that the kernel takes packets to them in. */
export const SERVICE_DEVICE = 'kube-ipvs0';
/** kube-proxy 1.36, pkg/proxy/ipvs/graceful_termination.go: how often real servers that shall go are looked at. */
export const TERMINATION_CHECK_MS = 60_000;
/**
 * After `remove`, connections that are still there keep their virtual servers for so long: the kernel itself forgets an
 * idle TCP connection after 15 minutes.
 */
export const DRAIN_LIMIT_MS = 15 * 60_000;
export const DRAIN_CHECK_MS = 5_000;
