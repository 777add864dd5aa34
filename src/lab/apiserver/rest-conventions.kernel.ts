import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ApiServer } from './api-server.ts';
import { arrayAt, type JsonObject, objectAt, objectsAt, stringAt } from './json/json.ts';

const TOKEN = 'secret-token';
const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps';
const PODS = '/api/v1/namespaces/default/pods';

let server: ApiServer;
let agent: Agent;

beforeAll(async () => {
  server = await ApiServer.start({
    listen: [{ host: '127.0.0.1', port: 0 }],
    advertise: { host: '192.0.2.1' },
    serviceCidrs: ['10.96.0.0/16'],
    tokens: new Map([[TOKEN, { username: 'tester', groups: ['testers'] }]]),
  });
  agent = new Agent({ connect: { ca: server.authority.certificate } });
});

afterAll(async () => {
  await agent.destroy();
  await server.close();
});

interface Answer {
  readonly status: number;
  readonly body: JsonObject;
  readonly headers: Record<string, string | string[] | undefined>;
}

interface Extra {
  readonly headers?: Record<string, string>;
  readonly token?: string;
}

const base = (): string => `https://127.0.0.1:${server.addresses[0]?.port ?? 0}`;

async function call(method: string, path: string, body?: unknown, extra: Extra = {}): Promise<Answer> {
  const answer = await request(base() + path, {
    method: method as 'GET',
    dispatcher: agent,
    headers: {
      authorization: `Bearer ${extra.token ?? TOKEN}`,
      'content-type': 'application/json',
      ...extra.headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await answer.body.text();
  return {
    status: answer.statusCode,
    body: text.startsWith('{') ? (JSON.parse(text) as JsonObject) : { text },
    headers: answer.headers,
  };
}

function configMap(name: string, metadata: JsonObject = {}): JsonObject {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, ...metadata }, data: { a: '1' } };
}

function pod(name: string, spec: JsonObject = {}): JsonObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: { containers: [{ name: 'a', image: 'busybox' }], ...spec },
  };
}

/** Reads watch events until `count` have come. */
async function watch(path: string, count: number, meanwhile: () => Promise<unknown>): Promise<JsonObject[]> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), 10_000);
  const answer = await request(base() + path, {
    dispatcher: agent,
    headers: { authorization: `Bearer ${TOKEN}` },
    signal: abort.signal,
  });
  const events: JsonObject[] = [];
  const done = meanwhile();
  let rest = '';
  for await (const chunk of answer.body) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) events.push(JSON.parse(line) as JsonObject);
    if (events.length >= count) break;
  }
  clearTimeout(timer);
  await done;
  return events;
}

const summary = (events: readonly JsonObject[]): string[] =>
  events.map(
    (event) => `${String(stringAt(event, 'type'))} ${stringAt(event, 'object', 'metadata', 'name') ?? ''}`,
  );

describe('who may come in', () => {
  test('nobody without credentials, nobody with wrong ones; health and version are open', async () => {
    const without = await request(`${base()}/api/v1/pods`, { dispatcher: agent });
    expect(without.statusCode).toBe(401);
    expect(await without.body.json()).toMatchObject({ kind: 'Status', reason: 'Unauthorized', code: 401 });
    expect((await call('GET', '/api/v1/pods', undefined, { token: 'wrong' })).status).toBe(401);
    expect((await request(`${base()}/readyz`, { dispatcher: agent })).statusCode).toBe(200);
  });

  test("a service account's token comes in until its account is gone", async () => {
    const accounts = '/api/v1/namespaces/default/serviceaccounts';
    await call('POST', accounts, { metadata: { name: 'robot' } });
    const { body } = await call('POST', `${accounts}/robot/token`, { spec: { expirationSeconds: 600 } });
    const token = stringAt(body, 'status', 'token') ?? '';
    const self = await call('POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews', {}, { token });
    expect(stringAt(self.body, 'status', 'userInfo', 'username')).toBe('system:serviceaccount:default:robot');
    await call('DELETE', `${accounts}/robot`);
    expect((await call('GET', '/api/v1/pods', undefined, { token })).status).toBe(401);
    expect((await call('GET', '/api/v1/pods', undefined, { token: `${token}x` })).status).toBe(401);
  });
});

describe('objects', () => {
  test('creating twice is AlreadyExists, in a missing namespace NotFound, with a stale version Conflict', async () => {
    expect((await call('POST', CONFIG_MAPS, configMap('one'))).status).toBe(201);
    expect((await call('POST', CONFIG_MAPS, configMap('one'))).body).toMatchObject({
      code: 409,
      reason: 'AlreadyExists',
    });
    const missing = await call('POST', '/api/v1/namespaces/nowhere/configmaps', configMap('one'));
    expect(missing.body).toMatchObject({ code: 404, message: 'namespaces "nowhere" not found' });
    const stale = await call('PUT', `${CONFIG_MAPS}/one`, configMap('one', { resourceVersion: '1' }));
    expect(stale.body).toMatchObject({ code: 409, reason: 'Conflict' });
  });

  test('a write that changes nothing keeps the version, one that does raises it', async () => {
    const first = await call('POST', CONFIG_MAPS, configMap('same'));
    const again = await call('PUT', `${CONFIG_MAPS}/same`, configMap('same'));
    expect(stringAt(again.body, 'metadata', 'resourceVersion')).toBe(
      stringAt(first.body, 'metadata', 'resourceVersion'),
    );
    const changed = await call('PUT', `${CONFIG_MAPS}/same`, { ...configMap('same'), data: { a: '2' } });
    expect(Number(stringAt(changed.body, 'metadata', 'resourceVersion'))).toBeGreaterThan(
      Number(stringAt(first.body, 'metadata', 'resourceVersion')),
    );
  });

  test('generateName makes different names, a dry run makes nothing', async () => {
    const body = { ...configMap(''), metadata: { generateName: 'gen-' } };
    const names = await Promise.all(
      [1, 2].map(async () => stringAt((await call('POST', CONFIG_MAPS, body)).body, 'metadata', 'name')),
    );
    expect(names[0]).toMatch(/^gen-[a-z0-9]{5}$/);
    expect(names[0]).not.toBe(names[1]);
    expect((await call('POST', `${CONFIG_MAPS}?dryRun=All`, configMap('dry'))).status).toBe(201);
    expect((await call('GET', `${CONFIG_MAPS}/dry`)).status).toBe(404);
  });

  test('status is changed by its subresource only, and raises no generation', async () => {
    await call('POST', PODS, { ...pod('st'), status: { phase: 'Running' } });
    expect(stringAt((await call('GET', `${PODS}/st`)).body, 'status', 'phase')).toBe('Pending');
    const patch = { status: { phase: 'Running' }, spec: { nodeName: 'ignored' } };
    const merge = { headers: { 'content-type': 'application/merge-patch+json' } };
    const { body } = await call('PATCH', `${PODS}/st/status`, patch, merge);
    expect(stringAt(body, 'status', 'phase')).toBe('Running');
    expect(stringAt(body, 'spec', 'nodeName')).toBeUndefined();
    const binding = { target: { kind: 'Node', name: 'n1' } };
    expect((await call('POST', `${PODS}/st/binding`, binding)).status).toBe(201);
    expect((await call('POST', `${PODS}/st/binding`, binding)).status).toBe(409);
    expect(stringAt((await call('GET', `${PODS}/st`)).body, 'spec', 'nodeName')).toBe('n1');
  });

  test('a merge patch, a strategic patch, a YAML body and an Ingress of old are understood', async () => {
    const yaml =
      'apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata:\n  name: old\nspec:\n  backend: {serviceName: web, servicePort: 80}\n';
    const headers = { 'content-type': 'application/yaml' };
    expect(
      (await call('POST', '/apis/extensions/v1beta1/namespaces/default/ingresses', yaml, { headers })).status,
    ).toBe(201);
    const { body } = await call('GET', '/apis/networking.k8s.io/v1/namespaces/default/ingresses/old');
    expect(objectAt(body, 'spec')).toEqual({
      defaultBackend: { service: { name: 'web', port: { number: 80 } } },
    });
  });
});

describe('deletion', () => {
  test('a finalizer holds the object until it is taken off', async () => {
    await call('POST', CONFIG_MAPS, configMap('held', { finalizers: ['example.com/hold'] }));
    const held = await call('DELETE', `${CONFIG_MAPS}/held`);
    expect(stringAt(held.body, 'metadata', 'deletionTimestamp')).toBeDefined();
    expect((await call('GET', `${CONFIG_MAPS}/held`)).status).toBe(200);
    const headers = { 'content-type': 'application/merge-patch+json' };
    await call('PATCH', `${CONFIG_MAPS}/held`, { metadata: { finalizers: null } }, { headers });
    expect((await call('GET', `${CONFIG_MAPS}/held`)).status).toBe(404);
  });

  test('a pod on a node stays until its kubelet lets it go; preconditions are kept', async () => {
    await call('POST', PODS, pod('slow', { nodeName: 'n1', terminationGracePeriodSeconds: 5 }));
    const wrong = await call('DELETE', `${PODS}/slow`, { preconditions: { uid: 'x' } });
    expect(wrong.body).toMatchObject({ code: 409 });
    const marked = await call('DELETE', `${PODS}/slow`);
    expect(objectAt(marked.body, 'metadata')).toMatchObject({ deletionGracePeriodSeconds: 5 });
    expect((await call('GET', `${PODS}/slow`)).status).toBe(200);
    await call('DELETE', `${PODS}/slow`, { gracePeriodSeconds: 0 });
    expect((await call('GET', `${PODS}/slow`)).status).toBe(404);
  });

  test('propagation policies become finalizers for the garbage collector', async () => {
    await call('POST', CONFIG_MAPS, configMap('owner'));
    const { body } = await call('DELETE', `${CONFIG_MAPS}/owner`, { propagationPolicy: 'Foreground' });
    expect(arrayAt(body, 'metadata', 'finalizers')).toEqual(['foregroundDeletion']);
  });

  test('a collection is deleted by selector, a namespace waits for its finalizer', async () => {
    for (const name of ['c1', 'c2'])
      await call('POST', CONFIG_MAPS, configMap(name, { labels: { sweep: 'yes' } }));
    await call('DELETE', `${CONFIG_MAPS}?labelSelector=sweep%3Dyes`);
    expect((await call('GET', `${CONFIG_MAPS}/c1`)).status).toBe(404);
    expect((await call('GET', `${CONFIG_MAPS}/one`)).status).toBe(200);
    await call('POST', '/api/v1/namespaces', { metadata: { name: 'going' } });
    const { body } = await call('DELETE', '/api/v1/namespaces/going');
    expect(stringAt(body, 'status', 'phase')).toBe('Terminating');
    const refused = await call('POST', '/api/v1/namespaces/going/configmaps', configMap('late'));
    expect(refused.body).toMatchObject({ code: 403 });
    await call('PUT', '/api/v1/namespaces/going/finalize', { ...body, spec: {} });
    expect((await call('GET', '/api/v1/namespaces/going')).status).toBe(404);
  });
});

describe('the way to the server', () => {
  const services = '/api/v1/namespaces/default/services';
  test('the Service kubernetes leads to the advertised address', async () => {
    expect(stringAt((await call('GET', `${services}/kubernetes`)).body, 'spec', 'clusterIP')).toBe(
      '10.96.0.1',
    );
    const { body } = await call(
      'GET',
      '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes',
    );
    expect(arrayAt(objectsAt(body, 'endpoints')[0], 'addresses')).toEqual(['192.0.2.1']);
  });

  test('deleted, it is made again with the same address', async () => {
    const events = await watch(`${services}?watch=1&fieldSelector=metadata.name%3Dkubernetes`, 3, () =>
      call('DELETE', `${services}/kubernetes`),
    );
    expect(summary(events)).toEqual(['ADDED kubernetes', 'DELETED kubernetes', 'ADDED kubernetes']);
    expect(stringAt(events[2], 'object', 'spec', 'clusterIP')).toBe('10.96.0.1');
  });
});

describe('list and watch', () => {
  test('a list in pages has every object once', async () => {
    await call('POST', '/api/v1/namespaces', { metadata: { name: 'pages' } });
    for (let i = 0; i < 7; i += 1)
      await call('POST', '/api/v1/namespaces/pages/configmaps', configMap(`p${i}`));
    const names: string[] = [];
    let next = '';
    do {
      const { body } = await call('GET', `/api/v1/namespaces/pages/configmaps?limit=3&continue=${next}`);
      names.push(...objectsAt(body, 'items').map((one) => stringAt(one, 'metadata', 'name') ?? ''));
      next = stringAt(body, 'metadata', 'continue') ?? '';
    } while (next !== '');
    expect(names).toEqual(['p0', 'p1', 'p2', 'p3', 'p4', 'p5', 'p6']);
    expect((await call('GET', `${CONFIG_MAPS}?continue=rubbish`)).status).toBe(400);
  });

  test('a watch from a list misses nothing; with a selector, objects come and go as they match', async () => {
    const { body } = await call('GET', `${CONFIG_MAPS}?limit=1`);
    const from = stringAt(body, 'metadata', 'resourceVersion') ?? '';
    await call('POST', CONFIG_MAPS, configMap('w1', { labels: { w: 'yes' } }));
    const events = await watch(
      `${CONFIG_MAPS}?watch=true&resourceVersion=${from}&labelSelector=w%3Dyes`,
      4,
      async () => {
        await call('PUT', `${CONFIG_MAPS}/w1`, {
          ...configMap('w1', { labels: { w: 'yes' } }),
          data: { a: '2' },
        });
        await call('POST', CONFIG_MAPS, configMap('other'));
        await call('PUT', `${CONFIG_MAPS}/w1`, configMap('w1'));
        await call('PUT', `${CONFIG_MAPS}/w1`, configMap('w1', { labels: { w: 'yes' } }));
      },
    );
    expect(summary(events)).toEqual(['ADDED w1', 'MODIFIED w1', 'DELETED w1', 'ADDED w1']);
  });

  test('a watch without version starts with what is there, and its end is a bookmark', async () => {
    const path =
      '/api/v1/namespaces/pages/configmaps?watch=1&allowWatchBookmarks=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dp1';
    const events = await watch(path, 2, () => delay(0));
    expect(summary(events)).toEqual(['ADDED p1', 'BOOKMARK ']);
  });

  test('a version that is forgotten is 410 Gone', async () => {
    const path = '/api/v1/namespaces/default/events';
    const { body } = await call('GET', path);
    const old = stringAt(body, 'metadata', 'resourceVersion') ?? '';
    const filler = 'x'.repeat(900_000);
    for (let i = 0; i < 40; i += 1) {
      await call('POST', path, {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { name: `e${i}` },
        involvedObject: {},
        message: filler,
      });
    }
    const [event] = await watch(`${path}?watch=true&resourceVersion=${old}`, 1, () => delay(0));
    expect(event).toMatchObject({ type: 'ERROR', object: { code: 410, reason: 'Expired' } });
  });

  test('a watch as a table has the cells of the kind', async () => {
    const answer = await request(`${base()}/api/v1/services?watch=1&timeoutSeconds=1`, {
      dispatcher: agent,
      headers: { authorization: `Bearer ${TOKEN}`, accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    });
    const [line = ''] = (await answer.body.text()).split('\n');
    const event = JSON.parse(line) as JsonObject;
    expect(arrayAt(objectsAt(event, 'object', 'rows')[0], 'cells').slice(0, 3)).toEqual([
      'kubernetes',
      'ClusterIP',
      '10.96.0.1',
    ]);
  });
});

describe('bad input', () => {
  test.each([
    ['JSON that stops', '{"a":', 'application/json', 400],
    ['a list', '[]', 'application/json', 400],
    ['YAML that stops', 'a: [', 'application/yaml', 400],
    ['another media type', '{}', 'text/html', 415],
    ['another kind', '{"kind":"Pod"}', 'application/json', 400],
    ['a name that is a number', '{"metadata":{"name":7}}', 'application/json', 400],
    ['a label that is a number', '{"metadata":{"name":"x","labels":{"a":1}}}', 'application/json', 400],
    ['a body over the limit', `{"data":"${'x'.repeat(4_000_000)}"}`, 'application/json', 413],
  ])('%s is refused', async (_, text, type, code) => {
    const answer = await call('POST', CONFIG_MAPS, text, { headers: { 'content-type': type } });
    expect(answer.body).toMatchObject({ kind: 'Status', status: 'Failure', code });
  });

  test('unknown paths, methods, selectors and parameters are named', async () => {
    expect((await call('GET', '/api/v1/nothings')).status).toBe(404);
    expect((await call('GET', '/nowhere')).status).toBe(404);
    expect((await call('GET', '/api/v1/%E0%A4%A')).status).toBe(400);
    expect((await call('POST', `${CONFIG_MAPS}/one`, {})).status).toBe(405);
    expect((await call('GET', `${CONFIG_MAPS}?fieldSelector=data.a%3D1`)).body).toMatchObject({
      code: 400,
      message: 'field label not supported: data.a',
    });
    expect((await call('GET', `${CONFIG_MAPS}?limit=-1`)).status).toBe(400);
    expect((await call('GET', `${CONFIG_MAPS}?labelSelector=%3D%3D`)).status).toBe(400);
  });

  test('causes name the fields, all at once', async () => {
    const { body } = await call('POST', PODS, {
      metadata: { name: 'bad' },
      spec: {
        restartPolicy: 'Sometimes',
        containers: [{ name: 'A' }, { name: 'b', image: 'x', ports: [{ containerPort: 0 }] }],
      },
    });
    expect(objectsAt(body, 'details', 'causes').map((cause) => cause['field'])).toEqual([
      'spec.restartPolicy',
      'spec.containers[0].name',
      'spec.containers[0].image',
      'spec.containers[1].ports[0].containerPort',
    ]);
  });

  test('logs of a pod whose node is unknown, or does not answer, are a clear error', async () => {
    await call('POST', PODS, pod('lost', { nodeName: 'nowhere' }));
    expect((await call('GET', `${PODS}/lost/log`)).body).toMatchObject({
      message: 'nodes "nowhere" not found',
    });
    await call('POST', PODS, pod('unscheduled'));
    expect((await call('GET', `${PODS}/unscheduled/log`)).body).toMatchObject({
      message: 'pod unscheduled does not have a host assigned',
    });
    await call('POST', '/api/v1/nodes', {
      metadata: { name: 'dead' },
      status: {
        addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
        daemonEndpoints: { kubeletEndpoint: { Port: 1 } },
      },
    });
    await call('POST', PODS, pod('dead', { nodeName: 'dead' }));
    expect(stringAt((await call('GET', `${PODS}/dead/log`)).body, 'message')).toContain(
      'error dialing backend',
    );
  });
});

test('a pod of a service account that does not exist is refused, with its name', async () => {
  const { status, body } = await call('POST', PODS, pod('of-nobody', { serviceAccountName: 'nobody' }));
  expect([status, body['message']]).toEqual([
    403,
    'pods "of-nobody" is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found',
  ]);
});
