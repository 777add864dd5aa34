import type { DaemonSet, Deployment } from 'kubernetes-types/apps/v1.js';
import type { Pod, PodTemplateSpec } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { hasStatus } from '../../cluster/api-error.ts';
import type { KubeObject } from '../../cluster/kube-object.ts';
import {
  CONFIG_MAPS,
  DAEMON_SETS,
  DEPLOYMENTS,
  ENDPOINT_SLICES,
  ENDPOINTS,
  EVENTS,
  NAMESPACES,
  NODES,
  PODS,
  REPLICA_SETS,
  type ResourceType,
  SERVICE_ACCOUNTS,
  SERVICES,
} from '../../cluster/resource-type.ts';
import { TestCluster } from './test-cluster.ts';

const GRACE_MS = 1500;

let cluster: TestCluster;
let namespace: string;
let heartbeat: NodeJS.Timeout;
let number = 0;

beforeAll(async () => {
  cluster = await TestCluster.start(GRACE_MS);
  for (const name of ['n1', 'n2', 'n3']) await cluster.addNode(name);
  const beat = (): void => {
    for (const name of ['n1', 'n2', 'n3']) {
      if (!cluster.deadNodes.has(name)) void cluster.beat(name).catch(() => undefined);
    }
  };
  beat();
  heartbeat = setInterval(beat, 300);
});

afterAll(async () => {
  clearInterval(heartbeat);
  await cluster.stop();
});

beforeEach(async () => {
  number += 1;
  namespace = `test-${number}`;
  await cluster.client.create(NAMESPACES, { metadata: { name: namespace } });
});

afterEach(async () => {
  await cluster.client.delete(NAMESPACES, { name: namespace }).catch(() => undefined);
});

const soon = async <T>(look: () => Promise<T>, timeout = 15_000): Promise<T> =>
  vi.waitFor(look, { interval: 10, timeout });

async function all<T extends KubeObject>(type: ResourceType<T>): Promise<T[]> {
  return (await cluster.client.list(type, { namespace })).items;
}

async function isGone(type: ResourceType, name: string): Promise<boolean> {
  const found = await cluster.client.get(type, { name, namespace }).catch((error: unknown) => error);
  return hasStatus(found, 404);
}

function template(image = 'web:1', app = 'web'): PodTemplateSpec {
  return {
    metadata: { labels: { app } },
    spec: {
      terminationGracePeriodSeconds: 5,
      containers: [{ name: 'main', image, ports: [{ name: 'http', containerPort: 8080 }] }],
    },
  };
}

async function deploy(replicas: number, extra: Partial<Deployment['spec']> = {}): Promise<void> {
  const spec = {
    replicas,
    selector: { matchLabels: { app: 'web' } },
    template: template(),
    ...extra,
  };
  await cluster.client.create(DEPLOYMENTS, { metadata: { name: 'web', namespace }, spec });
}

async function expose(extra: object = {}): Promise<void> {
  const spec = {
    selector: { app: 'web' },
    ports: [{ name: 'http', port: 80, targetPort: 'http' }],
    ...extra,
  };
  await cluster.client.create(SERVICES, { metadata: { name: 'web', namespace }, spec });
}

const scale = async (replicas: number): Promise<Deployment> =>
  patch(DEPLOYMENTS, 'web', { spec: { replicas } });

const patch = async <T extends KubeObject>(type: ResourceType<T>, name: string, body: object): Promise<T> =>
  cluster.client.patch(type, { name, namespace }, { type: 'merge', body });

const serving = (slices: readonly EndpointSlice[]): string[] =>
  slices
    .flatMap(({ endpoints }) => endpoints)
    .filter(({ conditions }) => conditions?.ready === true)
    .map(({ targetRef }) => targetRef?.name ?? '')
    .sort();

const deployment = async (): Promise<Deployment> =>
  cluster.client.get(DEPLOYMENTS, { name: 'web', namespace });
const status = async (): Promise<Deployment['status']> => (await deployment()).status;
const isServing = (pod: Pod): boolean =>
  pod.metadata?.deletionTimestamp === undefined &&
  (pod.status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') ?? false);
const revisions = async (): Promise<Record<string, string>> =>
  Object.fromEntries(
    (await all(REPLICA_SETS)).map((set) => [
      set.metadata?.annotations?.['deployment.kubernetes.io/revision'] ?? '',
      set.spec?.template?.spec?.containers[0]?.image ?? '',
    ]),
  );

const nodesOfPods = async (): Promise<string[]> =>
  (await all(PODS)).map((pod) => pod.spec?.nodeName ?? 'none').toSorted();

describe('a deployment', () => {
  test('has its pods, spread over the nodes, and its service follows scaling within a second', async () => {
    await deploy(3);
    await expose({ ipFamilyPolicy: 'SingleStack' });
    await soon(async () => expect(serving(await all(ENDPOINT_SLICES))).toHaveLength(3));
    expect(await nodesOfPods()).toEqual(['n1', 'n2', 'n3']);
    for (const replicas of [5, 1]) {
      const began = performance.now();
      await scale(replicas);
      await soon(async () => expect(serving(await all(ENDPOINT_SLICES))).toHaveLength(replicas));
      expect(performance.now() - began).toBeLessThan(1000);
    }
    await soon(async () => expect(await all(PODS)).toHaveLength(1));
    const pods = (await all(PODS)).map((pod) => pod.metadata?.name);
    expect(serving(await all(ENDPOINT_SLICES))).toEqual(pods);
  });

  test('rolls to a new template never below what is allowed, keeps its revisions and can go back', async () => {
    const strategy = { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } };
    await deploy(3, { strategy });
    await soon(async () =>
      expect(await status()).toMatchObject({ availableReplicas: 3, updatedReplicas: 3 }),
    );
    let fewest = Infinity;
    let most = 0;
    const watch = new AbortController();
    const counting = (async (): Promise<void> => {
      while (!watch.signal.aborted) {
        const pods = await all(PODS);
        fewest = Math.min(fewest, pods.filter(isServing).length);
        most = Math.max(most, pods.filter((pod) => pod.metadata?.deletionTimestamp === undefined).length);
      }
    })();
    await patch(DEPLOYMENTS, 'web', { spec: { template: template('web:2') } });
    await soon(async () => {
      const now = await status();
      expect(now).toMatchObject({ replicas: 3, updatedReplicas: 3, availableReplicas: 3 });
      expect(now?.observedGeneration).toBe((await deployment()).metadata?.generation);
    });
    watch.abort();
    await counting;
    expect(fewest).toBeGreaterThanOrEqual(3);
    expect(most).toBeLessThanOrEqual(4);
    const progressing = (await status())?.conditions?.find(({ type }) => type === 'Progressing');
    expect(progressing).toMatchObject({ status: 'True', reason: 'NewReplicaSetAvailable' });
    expect(await revisions()).toEqual({ '1': 'web:1', '2': 'web:2' });

    await patch(DEPLOYMENTS, 'web', { spec: { template: template('web:1') } });
    await soon(async () => expect(await revisions()).toEqual({ '2': 'web:2', '3': 'web:1' }));
  });

  test('whose new pods do not come up keeps the old ones and says that it is stuck', async () => {
    cluster.brokenImages.add('web:broken');
    await deploy(4, {
      progressDeadlineSeconds: 1,
      strategy: { rollingUpdate: { maxUnavailable: 1, maxSurge: 1 } },
    });
    await soon(async () => expect(await status()).toMatchObject({ availableReplicas: 4 }));
    await patch(DEPLOYMENTS, 'web', { spec: { template: template('web:broken') } });
    await soon(async () => {
      const progressing = (await status())?.conditions?.find(({ type }) => type === 'Progressing');
      expect(progressing).toMatchObject({ status: 'False', reason: 'ProgressDeadlineExceeded' });
    }, 6000);
    expect((await status())?.availableReplicas).toBe(3);
    expect((await all(PODS)).filter((pod) => pod.metadata?.deletionTimestamp === undefined)).toHaveLength(5);
  });

  test('with strategy Recreate has no old pod beside a new one', async () => {
    await deploy(2, { strategy: { type: 'Recreate' } });
    await soon(async () => expect(await status()).toMatchObject({ availableReplicas: 2 }));
    await patch(DEPLOYMENTS, 'web', { spec: { template: template('web:2') } });
    await soon(async () => {
      const images = (await all(PODS)).map((pod) => pod.spec?.containers[0]?.image);
      expect(new Set(images).size).toBeLessThanOrEqual(1);
      expect(images).toEqual(['web:2', 'web:2']);
    });
  });
});

describe('deleting an owner', () => {
  test('in the background takes what it owns along', async () => {
    await deploy(2);
    await soon(async () => expect(await all(PODS)).toHaveLength(2));
    await cluster.client.delete(DEPLOYMENTS, { name: 'web', namespace }, { propagationPolicy: 'Background' });
    await soon(async () => expect([...(await all(REPLICA_SETS)), ...(await all(PODS))]).toEqual([]));
  });

  test('in the foreground removes the owner last', async () => {
    await deploy(2);
    await soon(async () => expect(await all(PODS)).toHaveLength(2));
    await cluster.client.delete(DEPLOYMENTS, { name: 'web', namespace }, { propagationPolicy: 'Foreground' });
    await soon(async () => expect(await isGone(DEPLOYMENTS, 'web')).toBe(true));
    expect([...(await all(REPLICA_SETS)), ...(await all(PODS))]).toEqual([]);
  });

  test('as orphan leaves the pods, and a new owner adopts them', async () => {
    await deploy(2);
    await soon(async () => expect(await all(PODS)).toHaveLength(2));
    const before = (await all(PODS)).map((pod) => pod.metadata?.uid ?? '').toSorted();
    await cluster.client.delete(DEPLOYMENTS, { name: 'web', namespace }, { propagationPolicy: 'Orphan' });
    await soon(async () => expect(await isGone(DEPLOYMENTS, 'web')).toBe(true));
    const set = (await all(REPLICA_SETS))[0]?.metadata;
    expect(set?.ownerReferences ?? []).toEqual([]);
    await cluster.client.delete(
      REPLICA_SETS,
      { name: set?.name ?? '', namespace },
      { propagationPolicy: 'Orphan' },
    );
    await soon(async () => expect(await all(REPLICA_SETS)).toEqual([]));
    const spec = { replicas: 2, selector: { matchLabels: { app: 'web' } }, template: template() };
    await cluster.client.create(REPLICA_SETS, { metadata: { name: 'heir', namespace }, spec });
    await soon(async () => {
      const owners = (await all(PODS)).map((pod) => pod.metadata?.ownerReferences?.[0]?.name);
      expect(owners).toEqual(['heir', 'heir']);
    });
    expect((await all(PODS)).map((pod) => pod.metadata?.uid ?? '').toSorted()).toEqual(before);
  });

  test('an object whose owner does not exist is collected', async () => {
    const owner = { apiVersion: 'v1', kind: 'ConfigMap', name: 'nobody', uid: 'no-such-uid' };
    await cluster.client.create(CONFIG_MAPS, {
      metadata: { name: 'lost', namespace, ownerReferences: [owner] },
    });
    await soon(async () => expect(await isGone(CONFIG_MAPS, 'lost')).toBe(true));
  });
});

test('a replica set lets go of a pod whose labels were changed, and replaces it', async () => {
  await deploy(2);
  const [first] = await soon(async () => {
    const pods = await all(PODS);
    expect(pods).toHaveLength(2);
    return pods;
  });
  const name = first?.metadata?.name ?? '';
  await patch(PODS, name, { metadata: { labels: { app: 'debug' } } });
  await soon(async () => {
    const pods = await all(PODS);
    expect(pods).toHaveLength(3);
    const released = pods.find((pod) => pod.metadata?.name === name);
    expect(released?.metadata?.ownerReferences ?? []).toEqual([]);
  });
});

const pod = (name: string, spec: object): Pod => ({
  metadata: { name, namespace },
  spec: { containers: [{ name: 'main', image: 'web:1' }], ...spec },
});
const nodeOf = async (name: string): Promise<string | undefined> =>
  (await cluster.client.get(PODS, { name, namespace })).spec?.nodeName;

describe('the scheduler', () => {
  test('heeds labels, taints and cordons, says why a pod waits, and takes it when it can', async () => {
    await cluster.client.patch(
      NODES,
      { name: 'n2' },
      { type: 'merge', body: { metadata: { labels: { disk: 'ssd' } } } },
    );
    await cluster.client.create(PODS, pod('fast', { nodeSelector: { disk: 'ssd' } }));
    await soon(async () => expect(await nodeOf('fast')).toBe('n2'));

    await cluster.client.create(PODS, pod('picky', { nodeSelector: { disk: 'tape' } }));
    await soon(async () => {
      const { status } = await cluster.client.get(PODS, { name: 'picky', namespace });
      expect(status?.conditions).toContainEqual(
        expect.objectContaining({
          type: 'PodScheduled',
          status: 'False',
          reason: 'Unschedulable',
          message: "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
        }),
      );
    });
    await soon(async () => {
      const events = (await all(EVENTS)).filter(({ involvedObject }) => involvedObject.name === 'picky');
      expect(events.map(({ reason }) => reason)).toEqual(['FailedScheduling']);
    });
    await cluster.client.patch(
      NODES,
      { name: 'n3' },
      { type: 'merge', body: { metadata: { labels: { disk: 'tape' } } } },
    );
    await soon(async () => expect(await nodeOf('picky')).toBe('n3'));

    await cluster.client.patch(
      NODES,
      { name: 'n3' },
      { type: 'merge', body: { spec: { unschedulable: true } } },
    );
    await soon(async () => {
      const { spec } = await cluster.client.get(NODES, { name: 'n3' });
      expect(spec?.taints?.map(({ key }) => key)).toEqual(['node.kubernetes.io/unschedulable']);
    });
    await cluster.client.create(PODS, pod('late', { nodeSelector: { disk: 'tape' } }));
    await cluster.client.create(
      PODS,
      pod('bold', {
        nodeSelector: { disk: 'tape' },
        tolerations: [{ key: 'node.kubernetes.io/unschedulable', operator: 'Exists' }],
      }),
    );
    await soon(async () => expect(await nodeOf('bold')).toBe('n3'));
    expect(await nodeOf('late')).toBeUndefined();
    await cluster.client.patch(
      NODES,
      { name: 'n3' },
      { type: 'merge', body: { spec: { unschedulable: null } } },
    );
    await soon(async () => expect(await nodeOf('late')).toBe('n3'));
  });
});

test('a daemon set has one pod on each eligible node, follows new nodes and rolls one at a time', async () => {
  const spec: DaemonSet['spec'] = {
    selector: { matchLabels: { app: 'agent' } },
    template: template('agent:1', 'agent'),
  };
  await cluster.client.create(DAEMON_SETS, { metadata: { name: 'agent', namespace }, spec });
  await soon(async () => expect(await nodesOfPods()).toEqual(['n1', 'n2', 'n3']));
  await soon(async () => {
    const { status } = await cluster.client.get(DAEMON_SETS, { name: 'agent', namespace });
    expect(status).toMatchObject({
      desiredNumberScheduled: 3,
      numberAvailable: 3,
      updatedNumberScheduled: 3,
    });
  });
  await cluster.addNode('n4');
  await soon(async () => expect(await nodesOfPods()).toEqual(['n1', 'n2', 'n3', 'n4']));
  await cluster.client.delete(NODES, { name: 'n4' });
  await soon(async () => expect(await nodesOfPods()).toEqual(['n1', 'n2', 'n3']));

  await patch(DAEMON_SETS, 'agent', { spec: { template: template('agent:2', 'agent') } });
  let fewest = Infinity;
  await soon(async () => {
    const pods = await all(PODS);
    fewest = Math.min(
      fewest,
      pods.filter(({ metadata }) => metadata?.deletionTimestamp === undefined).length,
    );
    expect(pods.map((pod) => pod.spec?.containers[0]?.image)).toEqual(['agent:2', 'agent:2', 'agent:2']);
  });
  expect(fewest).toBeGreaterThanOrEqual(2);
});

const mirrored = async (): Promise<unknown[]> =>
  (await all(ENDPOINT_SLICES)).map((slice) => [slice.ports?.[0]?.port, slice.endpoints[0]?.addresses[0]]);

describe('the endpoints of a service', () => {
  test('name ports and pods, one family a slice, and the classic form says the same', async () => {
    await deploy(2);
    await expose({ ipFamilyPolicy: 'RequireDualStack' });
    const slices = await soon(async () => {
      const found = await all(ENDPOINT_SLICES);
      expect(serving(found)).toHaveLength(4);
      return found;
    });
    expect(slices.map(({ addressType }) => addressType).sort()).toEqual(['IPv4', 'IPv6']);
    for (const slice of slices) {
      expect(slice.metadata?.labels).toMatchObject({
        'kubernetes.io/service-name': 'web',
        'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
      });
      expect(slice.metadata?.annotations).toHaveProperty([
        'endpoints.kubernetes.io/last-change-trigger-time',
      ]);
      expect(slice.ports).toEqual([{ name: 'http', port: 8080, protocol: 'TCP' }]);
      expect(slice.endpoints[0]?.conditions).toEqual({ ready: true, serving: true, terminating: false });
    }
    await soon(async () => {
      const { subsets } = await cluster.client.get(ENDPOINTS, { name: 'web', namespace });
      expect(subsets?.[0]?.addresses).toHaveLength(2);
      expect(subsets?.[0]?.ports).toEqual([{ name: 'http', port: 8080, protocol: 'TCP' }]);
    });
  });

  test('without a ready pod, and with publishNotReadyAddresses', async () => {
    cluster.brokenImages.add('web:never');
    await deploy(1, { template: template('web:never') });
    await expose();
    await soon(async () => {
      const endpoint = (await all(ENDPOINT_SLICES))[0]?.endpoints[0];
      expect(endpoint?.conditions).toEqual({ ready: false, serving: false, terminating: false });
    });
    await patch(SERVICES, 'web', { spec: { publishNotReadyAddresses: true } });
    await soon(async () => expect(serving(await all(ENDPOINT_SLICES))).toHaveLength(1));
  });

  test('that a person wrote for a service without selector reach the proxies as slices, and go with them', async () => {
    await expose({ selector: undefined, ports: [{ port: 5432 }] });
    const subsets = [{ addresses: [{ ip: '192.0.2.7' }], ports: [{ port: 5433, protocol: 'TCP' }] }];
    await cluster.client.create(ENDPOINTS, { metadata: { name: 'web', namespace }, subsets });
    await soon(async () => expect(await mirrored()).toEqual([[5433, '192.0.2.7']]));
    await patch(ENDPOINTS, 'web', { subsets: [{ ...subsets[0], addresses: [{ ip: '192.0.2.8' }] }] });
    await soon(async () => expect(await mirrored()).toEqual([[5433, '192.0.2.8']]));
    await cluster.client.delete(ENDPOINTS, { name: 'web', namespace });
    await soon(async () => expect(await mirrored()).toEqual([]));
  });

  test('a service that nobody serves has an empty slice; with the service the slices go', async () => {
    await expose();
    await soon(async () => {
      const slices = await all(ENDPOINT_SLICES);
      expect(slices).toHaveLength(1);
      expect(slices[0]?.endpoints).toEqual([]);
    });
    await cluster.client.delete(SERVICES, { name: 'web', namespace });
    await soon(async () => expect([...(await all(ENDPOINT_SLICES)), ...(await all(ENDPOINTS))]).toEqual([]));
  });
});

describe('a node', () => {
  test('has its pod CIDRs; when the range is used up the node is told and waits for a free one', async () => {
    const cidrs = async (name: string): Promise<string[] | undefined> =>
      (await cluster.client.get(NODES, { name })).spec?.podCIDRs;
    await soon(async () => expect(await cidrs('n1')).toEqual(['10.244.0.0/24', 'fd00:10:244::/64']));
    await cluster.addNode('fourth');
    const taken = await soon(async () => {
      const found = await cidrs('fourth');
      expect(found).toHaveLength(2);
      return found;
    });
    await cluster.addNode('fifth');
    await soon(async () => {
      const { items } = await cluster.client.list(EVENTS, { namespace: 'default' });
      expect(items.find(({ involvedObject }) => involvedObject.name === 'fifth')).toMatchObject({
        reason: 'CIDRNotAvailable',
        type: 'Warning',
      });
    });
    expect(await cidrs('fifth')).toBeUndefined();
    await cluster.client.delete(NODES, { name: 'fourth' });
    await soon(async () => expect((await cidrs('fifth'))?.[0]).toBe(taken?.[0]));
    await cluster.client.delete(NODES, { name: 'fifth' });
  });

  test('whose kubelet stops is not ready, tainted, and its pods serve nobody until it is back', async () => {
    await deploy(3);
    await expose();
    await soon(async () => expect(serving(await all(ENDPOINT_SLICES))).toHaveLength(3));
    cluster.deadNodes.add('n2');
    await soon(async () => {
      const node = await cluster.client.get(NODES, { name: 'n2' });
      expect(node.status?.conditions?.find(({ type }) => type === 'Ready')).toMatchObject({
        status: 'Unknown',
        reason: 'NodeStatusUnknown',
      });
      expect(node.spec?.taints?.map(({ key, effect }) => `${key}:${effect}`).sort()).toEqual([
        'node.kubernetes.io/unreachable:NoExecute',
        'node.kubernetes.io/unreachable:NoSchedule',
      ]);
    }, GRACE_MS + 3000);
    await soon(async () => expect(serving(await all(ENDPOINT_SLICES))).toHaveLength(2));
    cluster.deadNodes.delete('n2');
    await soon(async () => {
      const { spec } = await cluster.client.get(NODES, { name: 'n2' });
      expect(spec?.taints ?? []).toEqual([]);
    });
  });
});

describe('a namespace', () => {
  test('has its default account and the root certificate, also after somebody deleted them', async () => {
    const check = async (): Promise<void> => {
      await cluster.client.get(SERVICE_ACCOUNTS, { name: 'default', namespace });
      const { data } = await cluster.client.get(CONFIG_MAPS, { name: 'kube-root-ca.crt', namespace });
      expect(data).toEqual({ 'ca.crt': 'ROOT' });
    };
    await soon(check);
    await cluster.client.delete(SERVICE_ACCOUNTS, { name: 'default', namespace });
    await patch(CONFIG_MAPS, 'kube-root-ca.crt', { data: { 'ca.crt': 'forged' } });
    await soon(check);
  });

  test('goes with everything in it', async () => {
    await deploy(2);
    await expose();
    await soon(async () => expect(serving(await all(ENDPOINT_SLICES))).toHaveLength(2));
    await cluster.client.delete(NAMESPACES, { name: namespace });
    await soon(async () => expect(await isGone(NAMESPACES, namespace)).toBe(true));
    expect([...(await all(DEPLOYMENTS)), ...(await all(PODS)), ...(await all(SERVICES))]).toEqual([]);
  });
});
