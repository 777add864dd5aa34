import type { IpFamily } from '../../../net/ip.ts';
import type { RuleCount, SyncReport } from '../../backend.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';

export interface FamilyReport extends Required<Pick<SyncReport, 'describe' | 'conflicts' | 'failures'>> {
  readonly rules: readonly RuleCount[];
}

/**
 * Userspace mode in one address family: with rules that lead connections to this process (UserspaceFamily), or without
 * any, where the process itself has the addresses of Services (DirectFamily).
 */
export interface ServingFamily {
  readonly family: IpFamily;
  prepare(): Promise<void>;
  rebuild(ports: Iterable<ServicePort>): Promise<FamilyReport>;
  update(changes: readonly ServicePortChange[]): Promise<FamilyReport>;
  foreignChange(): Promise<boolean>;
  watch?(changed: () => void): () => void;
  remove(): Promise<void>;
  /** Nothing leads here any more; calls back when the last connection has ended. */
  retire(drained: () => void): void;
  close(): void;
}
