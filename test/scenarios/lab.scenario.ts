import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CommandError } from '../../src/kernel/exec/run.ts';
import { identifyProcess } from '../../src/lab/state/process-identity.ts';
import { eventually, flatnet, Lab } from './lab-fixture.ts';

interface Status {
  readonly state: string;
  readonly server: string;
  readonly daemon: { readonly pid: number };
  readonly nodes: { readonly name: string; readonly ready: boolean; readonly pid: number }[];
}

async function status(name: string): Promise<Status> {
  return JSON.parse((await flatnet(['lab', 'status', '--name', name, '-o', 'json'])).stdout) as Status;
}

async function failure(args: readonly string[]): Promise<CommandError> {
  try {
    await flatnet(args);
  } catch (error) {
    if (error instanceof CommandError) return error;
    throw error;
  }
  throw new Error(`flatnet ${args.join(' ')} did not fail`);
}

/** What a lab could leave behind, as far as it is named after the lab. */
function traces(name: string): string[] {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.includes(name));
  const namespaces = existsSync('/run/netns')
    ? readdirSync('/run/netns').filter((entry) => entry.includes(name))
    : [];
  const files = existsSync('/var/lib/flatnet/labs') ? readdirSync('/var/lib/flatnet/labs') : [];
  const processes = execFileSync('ps', ['-eo', 'args=', '--sort=pid'], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(name) && !line.startsWith('ps '));
  return [...mounts, ...namespaces, ...files.filter((entry) => entry.includes(name)), ...processes];
}

/** Devices and rules of the machine's own network, which no lab may touch. */
function hostNetwork(): string {
  const links = execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' });
  const addresses = execFileSync('ip', ['-o', 'address'], { encoding: 'utf8' }).replace(
    /valid_lft \S+ preferred_lft \S+/g,
    '',
  );
  return `${links}${addresses}${execFileSync('ip', ['route'], { encoding: 'utf8' })}`;
}

function busybox(name: string, script: string, more: object = {}, spec: object = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [{ name: 'main', image: 'busybox', command: ['sh', '-c', script], ...more }],
      ...spec,
    },
  };
}

function probe(file: string): object {
  return { exec: { command: ['cat', file] }, periodSeconds: 1, failureThreshold: 1 };
}

let lab: Lab;
let before: string;

beforeAll(async () => {
  before = hostNetwork();
  lab = await Lab.up('lab');
});

afterAll(async () => {
  await lab?.down();
});

describe('commands about a lab', () => {
  test('up finds a lab that is up in a moment, and refuses to make it another one', async () => {
    const started = Date.now();
    const { stderr } = await flatnet(['lab', 'up', '--name', lab.name]);
    expect(stderr).toContain(`export KUBECONFIG=${lab.kubeconfig}`);
    expect(Date.now() - started).toBeLessThan(3000);
    const other = await failure(['lab', 'up', '--name', lab.name, '--nodes', '5']);
    expect(other.stderr).toContain('is up already with --nodes 3, not 5');
  });

  test('status tells of nodes and agents', async () => {
    const { state, nodes } = await status(lab.name);
    expect(state).toBe('running');
    expect(nodes.map(({ name, ready }) => [name, ready])).toEqual([
      ['node-1', true],
      ['node-2', true],
      ['node-3', true],
    ]);
  });

  test('exec passes exit codes on and names the nodes there are', async () => {
    expect((await lab.exec('node-2', ['hostname'])).trim()).toBe('node-2');
    expect(
      (await failure(['lab', 'exec', '--name', lab.name, 'node-1', '--', 'sh', '-c', 'exit 7'])).exitCode,
    ).toBe(7);
    const unknown = await failure(['lab', 'exec', '--name', lab.name, 'node-9', '--', 'true']);
    expect(unknown.stderr).toContain('there are: node-1, node-2, node-3, outside');
  });

  test('logs shows what agent and kubelet of a node say', async () => {
    const agent = await flatnet(['lab', 'logs', '--name', lab.name, 'node-1']);
    expect(agent.stdout).toContain('agent starting');
    await eventually(async () =>
      (await flatnet(['lab', 'logs', '--name', lab.name, 'daemon'])).stdout.includes('the lab is up'),
    );
  });

  test('bad input is named, with the remedy', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const name = `${lab.name}-bad`;
    const taken = await failure(['lab', 'up', '--name', name, '--api-port', String(port)]);
    expect(taken.stderr).toContain(`port ${port} on 127.0.0.1 is taken`);
    await new Promise((resolve) => server.close(resolve));
    const overlap = await failure(['lab', 'up', '--name', name, '--pod-cidr', '10.96.0.0/12']);
    expect(overlap.stderr).toContain('--pod-cidr 10.96.0.0/12 overlaps --service-cidr 10.96.0.0/16');
    const backend = await failure(['lab', 'up', '--name', name, '--backend', 'carrier-pigeon']);
    expect(backend.stderr).toMatch(/carrier-pigeon.*vxlan, host-gw/);
    const real = await failure(['lab', 'up', '--name', name, '--control-plane', 'real']);
    expect(real.stderr).toMatch(/KUBEBUILDER_ASSETS is not set|there is no program/);
    expect(traces(name)).toEqual([]);
  });
});

describe('pods', () => {
  test('run to their end in order, with volumes, environment and logs', async () => {
    const mount = [{ name: 'work', mountPath: '/work' }];
    await lab.apply([
      {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'settings' },
        data: { greeting: 'hello $(WHO)' },
      },
      busybox(
        'batch',
        'cat /work/first /etc/settings/greeting; echo "$A $B"; ls /var/run/secrets/kubernetes.io/serviceaccount; exit 4',
        {
          env: [
            { name: 'A', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
            { name: 'B', value: '$(A)-$(NONE)' },
          ],
          volumeMounts: [...mount, { name: 'settings', mountPath: '/etc/settings' }],
        },
        {
          restartPolicy: 'Never',
          initContainers: [
            {
              name: 'init',
              image: 'busybox',
              command: ['sh', '-c', 'echo first >/work/first'],
              volumeMounts: mount,
            },
          ],
          volumes: [
            { name: 'work', emptyDir: {} },
            { name: 'settings', configMap: { name: 'settings' } },
          ],
        },
      ),
    ]);
    await lab.kubectl(['wait', '--for=jsonpath={.status.phase}=Failed', 'pod/batch', '--timeout=30s']);
    const log = await lab.kubectl(['logs', 'batch', '-c', 'main']);
    expect(log).toBe('first\nhello $(WHO)batch batch-$(NONE)\nca.crt\nnamespace\ntoken\n');
    expect(await lab.value('pod/batch', '{.status.containerStatuses[0].state.terminated.exitCode}')).toBe(
      '4',
    );
  });

  test('that crash are started again with back-off, and keep the log of the run before', async () => {
    await lab.apply(busybox('crash', 'echo run; exit 3'));
    const reason = '{.status.containerStatuses[0].state.waiting.reason}';
    expect(await eventually(async () => (await lab.value('pod/crash', reason)) === 'CrashLoopBackOff')).toBe(
      true,
    );
    expect(await lab.kubectl(['logs', 'crash', '--previous'])).toBe('run\n');
    expect(
      Number(await lab.value('pod/crash', '{.status.containerStatuses[0].restartCount}')),
    ).toBeGreaterThan(0);
  });

  test('with an image that does not exist say which there are', async () => {
    await lab.apply(busybox('unknown', 'true', { image: 'postgres:16' }));
    const message = '{.status.containerStatuses[0].state.waiting.message}';
    expect(await eventually(() => lab.value('pod/unknown', message))).toMatch(
      /"postgres:16" not found.*busybox.*nginx/,
    );
  });

  test('are ready when their probe says so, and restarted when they are no longer alive', async () => {
    await lab.apply(
      busybox('probed', 'touch /alive; trap "exit 0" TERM; while :; do sleep 0.1; done', {
        readinessProbe: probe('/ready'),
        livenessProbe: { ...probe('/alive'), initialDelaySeconds: 1 },
      }),
    );
    const ready = '{.status.containerStatuses[0].ready}';
    await eventually(async () => (await lab.value('pod/probed', '{.status.phase}')) === 'Running');
    expect(await lab.value('pod/probed', ready)).toBe('false');
    await lab.kubectl(['exec', 'probed', '--', 'touch', '/ready']);
    expect(await eventually(async () => (await lab.value('pod/probed', ready)) === 'true')).toBe(true);
    await lab.kubectl(['exec', 'probed', '--', 'rm', '/alive']);
    const restarts = '{.status.containerStatuses[0].restartCount}';
    expect(await eventually(async () => (await lab.value('pod/probed', restarts)) === '1')).toBe(true);
  });

  test('can be entered: input, output, exit code', async () => {
    await lab.apply(busybox('inside', 'trap "exit 0" TERM; while :; do sleep 0.1; done'));
    await lab.kubectl(['wait', '--for=condition=Ready', 'pod/inside', '--timeout=30s']);
    expect(await lab.kubectl(['exec', '-i', 'inside', '--', 'cat'], { input: 'through and back' })).toBe(
      'through and back',
    );
    await expect(lab.kubectl(['exec', 'inside', '--', 'sh', '-c', 'exit 9'])).rejects.toThrow('exit code 9');
  });

  test('can be run from the command line, with what comes through a pipe', async () => {
    const args = ['run', 'piped', '--rm', '-i', '--restart=Never', '--image=busybox', '--', 'cat'];
    expect(await lab.kubectl(args, { input: 'through the pod' })).toContain('through the pod');
  });

  test('leave no namespace and no address behind', async () => {
    await lab.kubectl(['delete', 'pods', '--all', '--timeout=40s']);
    for (const node of ['node-1', 'node-2', 'node-3']) {
      const dns = await lab.kubectl([
        'get',
        'pods',
        '-A',
        '--field-selector',
        `spec.nodeName=${node}`,
        '-o',
        'name',
      ]);
      const count = dns.split('\n').filter(Boolean).length;
      expect((await lab.exec(node, ['ls', '/run/netns'])).split('\n').filter(Boolean)).toHaveLength(count);
      expect((await lab.exec(node, ['ls', '/var/lib/cni/results'])).split('\n').filter(Boolean)).toHaveLength(
        count,
      );
    }
  });
});

describe('what is left behind', () => {
  test('a second lab stands beside the first; killed, it is told from one that runs and cleared away', async () => {
    const second = await Lab.up('second', ['--nodes', '1', '--backend', 'host-gw', '--ipv6']);
    try {
      expect((await second.kubectl(['get', 'nodes', '-o', 'name'])).trim()).toBe('node/node-1');
      expect((await status(second.name)).server).not.toBe((await status(lab.name)).server);
      process.kill((await status(second.name)).daemon.pid, 'SIGKILL');
      const crashed = await eventually(() => failure(['lab', 'status', '--name', second.name]));
      expect(crashed.stdout).toContain('crashed');
    } finally {
      await second.down();
    }
    expect(traces(second.name)).toEqual([]);
    expect((await status(lab.name)).state).toBe('running');
  });

  test('down removes every trace, and the host has the network that it had', async () => {
    const { nodes, daemon } = await status(lab.name);
    await lab.down();
    expect(traces(lab.name)).toEqual([]);
    for (const pid of [daemon.pid, ...nodes.map((node) => node.pid)])
      expect(identifyProcess(pid)).toBeUndefined();
    expect(hostNetwork()).toBe(before);
    expect((await flatnet(['lab', 'down', '--name', lab.name])).stderr).toContain('nothing to remove');
  });
});
