import type { ConfigMap } from 'kubernetes-types/core/v1.js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ApiError } from './api-error.ts';
import { ApiClient } from './api-client.ts';
import { CONFIG_MAPS, ENDPOINT_SLICES, NODES } from './resource-type.ts';
import { answer, hangUp, refuse, UnrulyServer } from './unruly-server.ts';

let server: UnrulyServer;
let client: ApiClient;

beforeEach(async () => {
  server = await UnrulyServer.start();
  client = new ApiClient(server.access(), 'flatnet-test');
});

afterEach(async () => {
  await client.close();
  await server.stop();
});

const map: ConfigMap = { metadata: { name: 'settings', namespace: 'web' }, data: { a: '1' } };
const failure = async (promise: Promise<unknown>): Promise<ApiError> =>
  promise.then(
    () => {
      throw new Error('should have failed');
    },
    (error: unknown) => error as ApiError,
  );

describe('requests', () => {
  test.each([
    ['merge', { type: 'merge', body: { data: {} } }, 'application/merge-patch+json', ''],
    ['strategic', { type: 'strategic', body: {} }, 'application/strategic-merge-patch+json', ''],
    ['json', { type: 'json', body: [{ op: 'remove', path: '/data' }] }, 'application/json-patch+json', ''],
    [
      'apply',
      { type: 'apply', body: { metadata: { name: 'settings' } }, fieldManager: 'me', force: true },
      'application/apply-patch+yaml',
      '?fieldManager=me&force=true',
    ],
  ] as const)('a %s patch has its content type', async (_, patch, contentType, query) => {
    await client.patch(CONFIG_MAPS, { name: 'settings', namespace: 'web' }, patch, { subresource: 'status' });
    const request = server.requests[0];
    expect(request?.method).toBe('PATCH');
    expect(request?.headers['content-type']).toBe(contentType);
    expect((request?.url.pathname ?? '') + (request?.url.search ?? '')).toBe(
      `/api/v1/namespaces/web/configmaps/settings/status${query}`,
    );
  });

  test('paths of namespaced, cluster-wide and grouped types', async () => {
    await client.create(CONFIG_MAPS, { metadata: { name: 'x' } });
    await client.replace(NODES, { metadata: { name: 'n/1' } });
    await client.delete(
      ENDPOINT_SLICES,
      { namespace: 'web', name: 's' },
      { propagationPolicy: 'Foreground' },
    );
    expect(server.requests.map(({ method, url }) => `${method} ${url.pathname}`)).toEqual([
      'POST /api/v1/namespaces/default/configmaps',
      'PUT /api/v1/nodes/n%2F1',
      'DELETE /apis/discovery.k8s.io/v1/namespaces/web/endpointslices/s',
    ]);
    expect(server.bodies[0]).toEqual({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x' } });
    expect(server.bodies[2]).toEqual({
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      propagationPolicy: 'Foreground',
    });
    expect(server.requests[0]?.headers['user-agent']).toBe('flatnet-test');
  });

  test('items of a list say what they are', async () => {
    server.put('a', '1');
    const { items, resourceVersion } = await client.list(CONFIG_MAPS, { labelSelector: 'app in (x,y)' });
    expect(items[0]).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' } });
    expect(resourceVersion).toBe('101');
    expect(server.requests[0]?.url.searchParams.get('labelSelector')).toBe('app in (x,y)');
  });
});

describe('refusals and faults', () => {
  test('a conflict carries reason, code and causes', async () => {
    server.misbehave((_, response) => {
      const causes = [{ reason: 'FieldValueInvalid', field: 'data.a', message: 'no' }];
      refuse(response, 409, 'Conflict', { details: { causes } });
      return true;
    });
    const error = await failure(client.replace(CONFIG_MAPS, map));
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ code: 'HTTP_409', reason: 'Conflict', retryable: false, status: 409 });
    expect(error.causes).toEqual([{ reason: 'FieldValueInvalid', field: 'data.a', message: 'no' }]);
    expect(error.message).toBe('cannot update ConfigMap web/settings: Conflict it is');
  });

  test.each(['{}', 'null', '"welcome"', '{"items":{}}', '{"items":5}'])(
    'an answer of %s is no empty list',
    async (text) => {
      server.misbehave((_, response) => {
        response.end(text);
        return true;
      });
      const error = await failure(client.list(CONFIG_MAPS));
      expect(error).toMatchObject({ code: 'API_BAD_JSON', retryable: true });
    },
  );

  test('429 with Retry-After is tried again after that time, writes too', async () => {
    server.misbehave((_, response) => {
      response.setHeader('retry-after', '1');
      refuse(response, 429, 'TooManyRequests');
      return true;
    });
    const began = performance.now();
    await client.create(CONFIG_MAPS, map);
    expect(performance.now() - began).toBeGreaterThanOrEqual(990);
    expect(server.requests).toHaveLength(2);
  });

  test("a refusal without Retry-After is the caller's to judge", async () => {
    server.misbehave((_, response) => {
      refuse(response, 503, 'ServiceUnavailable');
      return true;
    });
    const error = await failure(client.get(CONFIG_MAPS, { name: 'a' }));
    expect(error).toMatchObject({ code: 'HTTP_503', retryable: true });
    expect(server.requests).toHaveLength(1);
  });

  test('a read whose connection broke is repeated, a write is not', async () => {
    server.misbehave(hangUp);
    await client.list(CONFIG_MAPS);
    server.misbehave(hangUp);
    expect(await failure(client.create(CONFIG_MAPS, map))).toMatchObject({
      code: 'API_CONNECTION_LOST',
      retryable: true,
    });
  });

  test('what is not JSON is named', async () => {
    server.misbehave((_, response) => {
      response.end('<html>login</html>');
      return true;
    });
    const error = await failure(client.list(CONFIG_MAPS));
    expect(error).toMatchObject({ code: 'API_BAD_JSON' });
    expect(error.message).toContain('<html>login');
  });

  test('a damaged watch event ends the watch with an error', async () => {
    server.misbehave((_, response) => {
      response.write('{"type":"ADDED","object":{"metadata":{"name":"a"}}}\n{"type":"MOD\n');
      return true;
    });
    const names: (string | undefined)[] = [];
    const error = await failure(
      (async () => {
        for await (const event of client.watch(CONFIG_MAPS)) names.push(event.object.metadata?.name);
      })(),
    );
    expect(names).toEqual(['a']);
    expect(error).toMatchObject({ code: 'API_BAD_JSON', retryable: true });
  });

  test('an aborted call ends with the abort and leaves nothing open', async () => {
    const abort = new AbortController();
    server.misbehave(() => {
      abort.abort();
      return true;
    });
    const error = await failure(client.list(CONFIG_MAPS, { signal: abort.signal }));
    expect(error.name).toBe('AbortError');
  });
});

describe('connection and credentials', () => {
  test('fresh credentials are asked for once after a 401', async () => {
    const asked: boolean[] = [];
    const renewing = new ApiClient(
      server.access({
        credentials: async (refresh) => {
          asked.push(refresh);
          return { authorization: refresh ? 'Bearer good' : 'Bearer stale' };
        },
      }),
    );
    await renewing.list(CONFIG_MAPS);
    expect(asked).toEqual([false, true]);
    const hopeless = new ApiClient(
      server.access({ credentials: async () => ({ authorization: 'Bearer bad' }) }),
    );
    expect(await failure(hopeless.list(CONFIG_MAPS))).toMatchObject({ code: 'HTTP_401' });
    await Promise.all([renewing.close(), hopeless.close()]);
  });

  test('a server with the wrong name or an unknown authority is refused, unless told to skip', async () => {
    const wrongName = new ApiClient(server.access({ tlsServerName: 'example.org' }));
    const unknown = new ApiClient(server.access({ certificateAuthority: undefined }));
    const careless = new ApiClient(
      server.access({ certificateAuthority: undefined, insecureSkipTlsVerify: true }),
    );
    for (const client of [wrongName, unknown]) {
      expect(await failure(client.list(CONFIG_MAPS))).toMatchObject({ code: 'API_CERTIFICATE' });
    }
    expect((await careless.list(CONFIG_MAPS)).items).toEqual([]);
    await Promise.all([wrongName.close(), unknown.close(), careless.close()]);
  });

  test('a server that is not there is named, with a hint', async () => {
    const { server: url } = server.access();
    await server.stop();
    const error = await failure(client.list(CONFIG_MAPS));
    expect(error).toMatchObject({ code: 'API_UNREACHABLE', retryable: true });
    expect(error.message).toContain(url);
    server = await UnrulyServer.start();
  });

  test('a path in front of the API is kept', async () => {
    const access = server.access();
    const behindProxy = new ApiClient({ ...access, server: `${access.server}/k8s/clusters/c1/` });
    server.misbehave((_, response) => {
      answer(response, 200, { items: [] });
      return true;
    });
    await behindProxy.list(NODES);
    expect(server.requests[0]?.url.pathname).toBe('/k8s/clusters/c1/api/v1/nodes');
    await behindProxy.close();
  });
});
