import type { Pod } from 'kubernetes-types/core/v1.js';
import type { LabNode } from '../node/lab-node.ts';
import type { DnsFacts } from './dns-config.ts';
import type { PodFacts } from './pod-facts.ts';
import type { PodObjects } from './pod-objects.ts';
import type { Sandbox } from './sandbox.ts';
import type { StartSlots } from './start-slots.ts';
import type { PodVolumes } from './volumes.ts';

/** What all pods of a node share. */
export interface NodeContext {
  readonly node: LabNode;
  readonly hostIps: readonly string[];
  readonly dns: DnsFacts;
  readonly objects: PodObjects;
  readonly slots: StartSlots;
  /** Variables of the Services that a pod of this namespace sees. */
  serviceVariables(namespace: string, linksEnabled: boolean): Promise<Map<string, string>>;
  /** An Event about the pod. */
  event(pod: Pod, type: 'Normal' | 'Warning', reason: string, message: string): void;
}

/** What the containers of one pod share, once its sandbox stands. */
export interface PodContext {
  readonly shared: NodeContext;
  readonly sandbox: Sandbox;
  readonly volumes: PodVolumes;
  readonly hostname: string;
  readonly podIps: readonly string[];
  /** The pod as the API has it now. */
  pod(): Pod;
  /** Something that the status shows has changed. */
  changed(): void;
}

export function factsOf(context: PodContext): PodFacts {
  return { pod: context.pod(), podIps: context.podIps, hostIps: context.shared.hostIps };
}

/** The name that a pod's processes see: at most 63 characters, as the kernel's UTS name would allow one more. */
export function podHostname(pod: Pod): string {
  const { hostNetwork, hostname, nodeName } = pod.spec ?? {};
  if (hostNetwork === true) return nodeName ?? '';
  return (hostname ?? pod.metadata?.name ?? '').slice(0, 63).replace(/[-.]+$/, '');
}
