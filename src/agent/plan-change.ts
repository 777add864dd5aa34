import type { Node } from 'kubernetes-types/core/v1.js';
import { describeError, FlatnetError } from '../errors/flatnet-error.ts';
import { Cidr } from '../net/cidr.ts';
import { changeKind, describeBackend, unreachable, type ReachNode } from '../podnet/backends/change-plan.ts';
import type { NodeAbout } from '../podnet/node-about.ts';
import { backendSchema, type BackendSettings, type NetworkConfig } from '../podnet/network-config.ts';
import type { NodeLease } from '../podnet/node-lease.ts';
import { completePrefix } from '../podnet/stores/kubernetes/annotation-prefix.ts';
import { readLease } from '../podnet/stores/kubernetes/annotations.ts';
import { viewNode } from '../podnet/stores/kubernetes/node-view.ts';
import { ABOUT } from '../podnet/stores/kubernetes/own-annotations.ts';

/** One way between two nodes. */
export interface PairVerdict {
  readonly from: string;
  readonly to: string;
  /** Why it would be lost; undefined: it stays. */
  readonly lost: string | undefined;
}

export interface ChangePlan {
  /** How each node gets to the new backend, or why it cannot. */
  readonly nodes: readonly { readonly node: string; readonly change: string; readonly refused: boolean }[];
  readonly pairs: readonly PairVerdict[];
  /** Nodes whose part of the network cannot be read. */
  readonly problems: readonly string[];
}

interface PlannedNode extends ReachNode {
  readonly backends: readonly BackendSettings[];
}

/** What a change to the network's backend would do to each node and each pair of nodes, from their Node objects. */
export function planChange(
  nodes: readonly Node[],
  network: NetworkConfig,
  annotationPrefix: string,
): ChangePlan {
  const problems: string[] = [];
  const planned = nodes.flatMap((node): PlannedNode[] => {
    const view = viewNode(node, completePrefix(annotationPrefix));
    const { lease, problems: found } = readLease(view, network.networks);
    problems.push(...found.map(describeError));
    return lease === undefined ? [] : [plannedNode(lease, view.annotations[ABOUT])];
  });
  const ofNodes = planned.map((node) => ({ node: node.node, ...changeOf(node, network.backend) }));
  const moved = new Set(ofNodes.filter(({ change }) => change === BESIDE).map(({ node }) => node));
  const stuck = new Map(ofNodes.filter(({ refused }) => refused).map(({ node, change }) => [node, change]));
  const pairs = planned.flatMap((from) =>
    planned
      .filter((to) => to !== from)
      .map((to): PairVerdict => {
        const changes = moved.has(from.node) || moved.has(to.node);
        const why = changes ? unreachable(network.backend, from, to) : undefined;
        return { from: from.node, to: to.node, lost: stuck.get(from.node) ?? why };
      }),
  );
  return { nodes: ofNodes, pairs, problems };
}

const BESIDE = 'the new backend beside the old one, then pairs move over';

function changeOf(
  { rolls, backends }: PlannedNode,
  next: BackendSettings,
): { readonly change: string; readonly refused: boolean } {
  if (!rolls) return { change: 'not run by Flatnet: stays as it is', refused: false };
  try {
    const kinds = backends.map((settings) => changeKind(settings, next));
    if (kinds.includes('none')) return { change: `has ${describeBackend(next)} already`, refused: false };
    if (kinds.includes('in-place')) return { change: 'in place', refused: false };
    return { change: BESIDE, refused: false };
  } catch (error) {
    if (!(error instanceof FlatnetError)) throw error;
    return { change: describeError(error), refused: true };
  }
}

function plannedNode(lease: NodeLease, aboutText: string | undefined): PlannedNode {
  const about = readAbout(aboutText);
  return {
    node: lease.node,
    ips: new Map([...lease.families].map(([family, { publicIp }]) => [family, publicIp])),
    subnets: about?.subnets.flatMap((text) => Cidr.tryParse(text) ?? []),
    rolls: about !== undefined,
    backends: (about?.backends ?? []).flatMap((backend) => {
      // A preshared key is not published: whether it changes cannot be told from here.
      const { PSK: _, ...rest } = backend;
      const parsed = backendSchema.safeParse(rest);
      return parsed.success ? [parsed.data] : [];
    }),
  };
}

function readAbout(text: string | undefined): NodeAbout | undefined {
  try {
    const about = JSON.parse(text ?? 'null') as Partial<NodeAbout> | null;
    const isWhole = Array.isArray(about?.subnets) && Array.isArray(about.backends);
    return isWhole ? (about as NodeAbout) : undefined;
  } catch {
    return undefined;
  }
}
