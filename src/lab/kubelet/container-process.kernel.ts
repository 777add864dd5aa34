import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { run } from '../../kernel/exec/run.ts';
import { NodeFixture } from '../fixture/node-fixture.ts';
import { DEFAULT_PATH, resolveImage } from '../images/catalogue.ts';
import { lowerLayers } from '../images/layers.ts';
import { privilegeCommand } from './capabilities.ts';
import { ContainerLog } from './container-log.ts';
import { ContainerProcess, type ContainerRun } from './container-process.ts';
import { parseLogEntry, renderLogEntry } from './log-format.ts';
import { Sandbox } from './sandbox.ts';

let fixture: NodeFixture;
let sandbox: Sandbox;
let runs = 0;

beforeAll(async () => {
  fixture = await NodeFixture.start('container');
  sandbox = await Sandbox.create(fixture.node, 'test', { hostname: 'pod-a', hostNetwork: false });
});

afterAll(async () => {
  await sandbox?.remove();
  await fixture?.stop();
});

async function start(command: readonly string[], more: Partial<ContainerRun> = {}) {
  runs += 1;
  const id = `run-${runs}`;
  const log = new ContainerLog(join(fixture.folder, `${id}.log`));
  const container = await ContainerProcess.start(fixture.node, sandbox, {
    id,
    lower: lowerLayers(resolveImage('busybox')),
    readOnlyRoot: false,
    privileged: false,
    workingDir: '/',
    mounts: [],
    env: new Map([['PATH', DEFAULT_PATH]]),
    privileges: privilegeCommand(undefined, undefined),
    command,
    log,
    stdin: false,
    tty: false,
    ...more,
  });
  return { container, log };
}

/** Runs to the end; what was written, and the exit code. */
async function output(command: readonly string[], more: Partial<ContainerRun> = {}) {
  const { container, log } = await start(command, more);
  const { exitCode } = await container.exited;
  if (!log.ended) await new Promise((resolve) => log.once('ended', resolve));
  const entries = readFileSync(log.path, 'utf8')
    .split('\n')
    .flatMap((line) => parseLogEntry(line) ?? []);
  return { text: entries.map((entry) => renderLogEntry(entry, {})).join(''), exitCode };
}

describe('a container', () => {
  test('is PID 1, with the name of its pod, and gets its environment and arguments unchanged', async () => {
    const odd = `a'b"c $(touch /oops) \\ ; \n end`;
    const env = new Map([
      ['PATH', DEFAULT_PATH],
      ['ODD', odd],
    ]);
    const { text, exitCode } = await output(
      ['sh', '-c', 'echo $$; hostname; printf "%s|%s" "$ODD" "$0"; exit 7', odd],
      { env },
    );
    expect(text).toBe(`1\npod-a\n${odd}|${odd}`);
    expect(exitCode).toBe(7);
  });

  test('has the capabilities that containerd leaves, none more', async () => {
    const { text } = await output(['grep', 'CapEff', '/proc/self/status']);
    expect(text.trim()).toMatch(/00000000a80425fb$/);
    const { text: dropped } = await output(['grep', 'CapEff', '/proc/self/status'], {
      privileges: privilegeCommand(
        { capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] }, runAsUser: 0 },
        undefined,
      ),
    });
    expect(dropped.trim()).toMatch(/0000000000001000$/);
  });

  test('runs as the user that it asks for', async () => {
    const privileges = privilegeCommand({ runAsUser: 1234, runAsGroup: 5678 }, { fsGroup: 99 });
    expect((await output(['id', '-u'], { privileges })).text).toBe('1234\n');
    expect((await output(['id', '-G'], { privileges })).text).toBe('5678 99\n');
  });

  test('sees empty folders in place of those of the machine, and its own devices', async () => {
    const { text } = await output(['sh', '-c', 'ls -A /tmp /home; ls /sys/class/net; echo x >/dev/stdout']);
    expect(text).not.toContain('flatnet-node-');
    expect(text).toMatch(/lo\nx\n$/);
  });

  test('is given input bit by bit, and says what it reads at once', async () => {
    // cat copies by sendfile(2); from a socket it would hold the pipe's lock, and who reads that be stopped for good.
    const { container, log } = await start(['cat'], { stdin: true });
    for (const line of ['one\n', 'two\n', 'three\n']) {
      container.streams.stdin?.write(line);
      await vi.waitFor(() => expect(readFileSync(log.path, 'utf8')).toContain(` ${line}`));
    }
    container.streams.stdin?.end();
    expect((await container.exited).exitCode).toBe(0);
  });

  test('mounts read-only and through symbolic links', async () => {
    const mounts = [{ source: '/etc/resolv.conf', destination: '/var/run/secrets/x', readOnly: true }];
    const { text, exitCode } = await output(
      ['sh', '-c', 'cat /var/run/secrets/x; echo y >/var/run/secrets/x'],
      { mounts },
    );
    expect(text).toContain('nameserver 192.0.2.53');
    expect(text).toContain('Read-only file system');
    expect(exitCode).not.toBe(0);
    expect((await output(['touch', '/x'], { readOnlyRoot: true })).text).toContain('Read-only file system');
  });

  test('that cannot start says why', async () => {
    await expect(start(['no-such-program'])).rejects.toThrow(
      'failed to start container: exec: "no-such-program": executable file not found in $PATH',
    );
  });

  test('can be entered while it runs, and ends with 137 when it is killed', async () => {
    const { container } = await start(['sleep', '1000'], {
      env: new Map([
        ['PATH', DEFAULT_PATH],
        ['A', 'b'],
      ]),
    });
    const [program = '', ...args] = container.enter(['sh', '-c', 'echo $A; cat /proc/1/comm']);
    expect((await run(program, args)).stdout).toMatch(/^b\nsleep\n$/);
    container.kill('SIGKILL');
    expect((await container.exited).exitCode).toBe(137);
    expect(() => container.enter(['true'])).toThrow('the container is not running');
  });

  test('heeds SIGTERM when it has a handler', async () => {
    const { container, log } = await start([
      'sh',
      '-c',
      'trap "exit 3" TERM; echo ready; while :; do sleep 0.05; done',
    ]);
    if (!readFileSync(log.path, 'utf8').includes('ready'))
      await new Promise((resolve) => log.once('written', resolve));
    container.kill('SIGTERM');
    expect((await container.exited).exitCode).toBe(3);
  });
});

test('a removed sandbox leaves no namespace', async () => {
  const own = await Sandbox.create(fixture.node, 'gone', { hostname: 'gone', hostNetwork: false });
  expect(existsSync(fixture.node.path(own.netnsPath))).toBe(true);
  await own.remove();
  expect(existsSync(fixture.node.path(own.netnsPath))).toBe(false);
  expect(readFileSync(fixture.node.path('/proc/1/mounts'), 'utf8')).not.toContain(own.netnsPath);
});
