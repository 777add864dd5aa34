import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ApiServer } from './api-server.ts';
import { installedKubectls, kubeconfigText } from './installed-kubectls.kernel-support.ts';

const KUBECTLS = installedKubectls();

const runFile = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'fnt-apiserver-'));
let server: ApiServer;

beforeAll(async () => {
  server = await ApiServer.start({
    listen: [{ host: '127.0.0.1', port: 0 }],
    advertise: { host: '192.0.2.1' },
    serviceCidrs: ['10.96.0.0/16'],
    tokens: new Map([['secret-token', { username: 'tester', groups: [] }]]),
  });
  const pair = server.issueClientCertificate('tester', ['system:masters']);
  writeFileSync(
    join(folder, 'config'),
    kubeconfig({
      'client-certificate-data': Buffer.from(pair.certificate).toString('base64'),
      'client-key-data': Buffer.from(pair.key).toString('base64'),
    }),
    { mode: 0o600 },
  );
  writeFileSync(join(folder, 'token-config'), kubeconfig({ token: 'secret-token' }), { mode: 0o600 });
});

afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

const kubeconfig = (user: Record<string, string>): string => kubeconfigText(server, user);

interface Answer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one kubectl; with a manifest, it is given on standard input. */
function kubectlIn(file: string, namespace: string) {
  return async (args: readonly string[], manifest?: unknown): Promise<Answer> => {
    const all = [
      '--kubeconfig',
      join(folder, 'config'),
      '--cache-dir',
      join(folder, 'cache'),
      '-n',
      namespace,
      ...args,
    ];
    const running = runFile(file, all, {
      timeout: 20_000,
      env: { ...process.env, KUBE_EDITOR: 'sed -i s/nginx:1/nginx:9/' },
    });
    running.child.stdin?.end(manifest === undefined ? '' : JSON.stringify(manifest));
    try {
      return { code: 0, ...(await running) };
    } catch (error) {
      const { code, stdout, stderr } = error as { code?: number; stdout?: string; stderr?: string };
      return { code: code ?? 1, stdout: stdout ?? '', stderr: stderr ?? '' };
    }
  };
}

function deployment(image: string, more: object = {}): object {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web' },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: 'web' } },
      template: {
        metadata: { labels: { app: 'web' } },
        spec: { containers: [{ name: 'main', image, ports: [{ containerPort: 80 }] }] },
      },
      ...more,
    },
  };
}

describe.skipIf(KUBECTLS.length === 0)('kubectl (skipped where no kubectl is installed)', () => {
  describe.each(KUBECTLS)('$version', ({ version, file }) => {
    const namespace = `v${version.replaceAll(/\W+/g, '-')}`;
    const kubectl = kubectlIn(file, namespace);
    const jsonPath = async (object: string, path: string): Promise<string> =>
      (await kubectl(['get', object, '-o', `jsonpath=${path}`])).stdout;

    beforeAll(async () => {
      await kubectl(['create', 'namespace', namespace]);
    });

    test('applies, applies again without change, and applies a change', async () => {
      expect((await kubectl(['apply', '-f', '-'], deployment('nginx:1'))).stdout).toContain('created');
      expect((await kubectl(['apply', '-f', '-'], deployment('nginx:1'))).stdout).toContain('unchanged');
      expect((await kubectl(['apply', '-f', '-'], deployment('nginx:2'))).stdout).toContain('configured');
      expect(await jsonPath('deploy/web', '{.spec.template.spec.containers[0].image}')).toBe('nginx:2');
      expect(await jsonPath('deploy/web', '{.metadata.generation}')).toBe('2');
    });

    test('prints the columns that users know', async () => {
      const { stdout } = await kubectl(['get', 'deploy', '-o', 'wide']);
      expect(stdout).toMatch(/NAME +READY +UP-TO-DATE +AVAILABLE +AGE +CONTAINERS +IMAGES +SELECTOR/);
      expect(stdout).toMatch(/web +0\/2 +0 +0 +\d+s +main +nginx:2 +app=web/);
    });

    test('refuses unknown fields and wrong values, field by field', async () => {
      const unknown = await kubectl(['apply', '-f', '-'], deployment('nginx:1', { replicaz: 3 }));
      expect(unknown.code).not.toBe(0);
      expect(unknown.stderr).toContain('unknown field "spec.replicaz"');
      const wrong = await kubectl(['create', '-f', '-'], {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'Bad_Name' },
        spec: { ports: [{ port: 70_000 }] },
      });
      expect(wrong.stderr).toContain('metadata.name');
      expect(wrong.stderr).toContain(
        'spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive',
      );
    });

    test('creates with typed commands, exposes, scales, labels, edits, patches', async () => {
      expect((await kubectl(['create', 'configmap', 'cm', '--from-literal=a=b'])).stdout).toContain(
        'created',
      );
      expect(await jsonPath('cm/cm', '{.data.a}')).toBe('b');
      expect((await kubectl(['expose', 'deploy', 'web', '--type=NodePort', '--port=80'])).stdout).toContain(
        'exposed',
      );
      expect(await jsonPath('svc/web', '{.spec.clusterIP}')).toMatch(/^10\.96\./);
      expect(Number(await jsonPath('svc/web', '{.spec.ports[0].nodePort}'))).toBeGreaterThanOrEqual(30_000);
      expect((await kubectl(['scale', 'deploy/web', '--replicas=5'])).stdout).toContain('scaled');
      expect(await jsonPath('deploy/web', '{.spec.replicas}')).toBe('5');
      await kubectl(['label', 'deploy/web', 'tier=front']);
      expect((await kubectl(['get', 'deploy', '-l', 'tier in (front),!x', '-o', 'name'])).stdout.trim()).toBe(
        'deployment.apps/web',
      );
      await kubectl(['set', 'image', 'deploy/web', 'main=nginx:1']);
      expect((await kubectl(['edit', 'deploy/web'])).stdout).toContain('edited');
      expect(await jsonPath('deploy/web', '{.spec.template.spec.containers[0].image}')).toBe('nginx:9');
      const patch =
        '{"spec":{"template":{"spec":{"containers":[{"name":"main","env":[{"name":"X","value":"1"}]}]}}}}';
      await kubectl(['patch', 'deploy/web', '-p', patch]);
      expect(await jsonPath('deploy/web', '{.spec.template.spec.containers[0].image}')).toBe('nginx:9');
      expect(await jsonPath('deploy/web', '{.spec.template.spec.containers[0].env[0].name}')).toBe('X');
      await kubectl([
        'patch',
        'deploy/web',
        '--type=json',
        '-p',
        '[{"op":"replace","path":"/spec/replicas","value":1}]',
      ]);
      expect(await jsonPath('deploy/web', '{.spec.replicas}')).toBe('1');
    });

    test('from client-side to server-side apply: what the manifest leaves out goes', async () => {
      await kubectl(['apply', '-f', '-'], configMap('migrated', { a: '1', b: '2' }));
      const dry = ['apply', '--server-side', '--dry-run=server', '-f', '-'];
      expect((await kubectl(dry, configMap('migrated', { a: '1' }))).stderr).toBe('');
      await kubectl(['apply', '--server-side', '-f', '-'], configMap('migrated', { a: '1' }));
      const { stdout } = await kubectl(['get', 'configmap', 'migrated', '-o', 'jsonpath={.data}']);
      expect(JSON.parse(stdout)).toEqual({ a: '1' });
      await kubectl(['delete', 'configmap', 'migrated']);
    });

    test('server-side apply: a conflict names the other manager, force takes over', async () => {
      const mine = {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'ssa' },
        data: { a: '1', b: '2' },
      };
      const theirs = { ...mine, data: { a: '9' } };
      await kubectl(['apply', '--server-side', '--field-manager=one', '-f', '-'], mine);
      const clash = await kubectl(['apply', '--server-side', '--field-manager=two', '-f', '-'], theirs);
      expect(clash.stderr).toContain('conflict with "one"');
      expect(clash.stderr).toContain('.data.a');
      await kubectl(
        ['apply', '--server-side', '--force-conflicts', '--field-manager=two', '-f', '-'],
        theirs,
      );
      expect(await jsonPath('cm/ssa', '{.data}')).toBe('{"a":"9","b":"2"}');
    });

    test('explains, describes, diffs and tells who one is', async () => {
      expect((await kubectl(['explain', 'service.spec.clusterIP'])).stdout).toMatch(
        /FIELD: +clusterIP <string>/,
      );
      expect((await kubectl(['describe', 'svc', 'web'])).stdout).toMatch(/Selector: +app=web/);
      expect((await kubectl(['diff', '-f', '-'], deployment('nginx:3'))).stdout).toContain(
        '+        image: nginx:3',
      );
      expect((await kubectl(['auth', 'can-i', 'create', 'pods'])).stdout.trim()).toBe('yes');
    });

    test('custom resources are served, validated and printed by their definition', async () => {
      const group = `${namespace}.example.com`;
      await kubectl(['apply', '-f', '-'], customDefinition(group));
      await kubectl(['wait', '--for=condition=Established', `crd/widgets.${group}`]);
      const widget = (size: string): object => ({
        apiVersion: `${group}/v1`,
        kind: 'Widget',
        metadata: { name: 'w' },
        spec: { size },
      });
      expect((await kubectl(['apply', '-f', '-'], widget('huge'))).stderr).toContain(
        'Unsupported value: "huge"',
      );
      expect((await kubectl(['apply', '-f', '-'], widget('big'))).stdout).toContain('created');
      expect((await kubectl(['get', `widgets.${group}`])).stdout).toMatch(/NAME +SIZE\nw +big/);
      expect(await jsonPath(`widgets.${group}/w`, '{.spec.count}')).toBe('3');
      await kubectl(['delete', `crd/widgets.${group}`]);
      expect((await kubectl(['get', `widgets.${group}`])).code).not.toBe(0);
    });

    test('deletes, and what is deleted is gone', async () => {
      await kubectl(['delete', 'deploy/web', 'svc/web']);
      expect((await kubectl(['get', 'deploy/web'])).stderr).toContain('deployments.apps "web" not found');
    });

    test('a bearer token is as good as a certificate, a wrong one is refused', async () => {
      const config = ['--kubeconfig', join(folder, 'token-config')];
      expect((await kubectl([...config, 'get', 'ns', '-o', 'name'])).stdout).toContain('namespace/default');
      const refused = await kubectl([...config, '--token=wrong', 'get', 'ns']);
      expect(refused.stderr).toMatch(/must be logged in|Unauthorized/);
    });
  });
});

function customDefinition(group: string): object {
  const spec = {
    type: 'object',
    properties: { size: { type: 'string', enum: ['small', 'big'] }, count: { type: 'integer', default: 3 } },
  };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `widgets.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural: 'widgets', kind: 'Widget' },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          additionalPrinterColumns: [{ name: 'Size', type: 'string', jsonPath: '.spec.size' }],
          schema: { openAPIV3Schema: { type: 'object', properties: { spec } } },
        },
      ],
    },
  };
}

function configMap(name: string, data: object): object {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data };
}
