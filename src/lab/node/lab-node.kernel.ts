import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { listNetns } from '../../kernel/netns/netns.ts';
import { NodeFixture } from '../fixture/node-fixture.ts';
import { isNetnsOf } from '../state/lab-name.ts';
import { isRunning } from '../state/process-identity.ts';

let fixture: NodeFixture;

beforeAll(async () => {
  fixture = await NodeFixture.start('node', { nodes: 2, subnets: 2, ipv6: true, mtu: 1400 });
});

afterAll(async () => {
  await fixture?.stop();
});

describe('a node', () => {
  test('has a name, processes, files and devices of its own', async () => {
    const { stdout: name } = await fixture.exec(['hostname']);
    expect(name).toBe('node-1\n');
    const { stdout: processes } = await fixture.exec(['ps', '-e', '-o', 'pid=,comm=']);
    expect(processes.trim().split('\n').length).toBeLessThan(4);
    expect(processes).toMatch(/^\s*1 (busybox|sleep)/);
    const { stdout: devices } = await fixture.exec(['ls', '/sys/class/net']);
    expect(devices.split('\n').filter(Boolean).sort()).toEqual(['eth0', 'lo']);
    const { stdout: resolver } = await fixture.exec(['cat', '/etc/resolv.conf']);
    expect(resolver).toBe('nameserver 192.0.2.53\n');
  });

  test('writes to its own root: the host and the other node do not see it', async () => {
    await fixture.exec(['touch', '/etc/flatnet-node-test', '/opt/cni/bin/x', '/run/y']);
    expect(existsSync('/etc/flatnet-node-test')).toBe(false);
    const other = fixture.nodes[1];
    await expect(fixture.exec(['cat', '/etc/flatnet-node-test'], other)).rejects.toThrow('No such file');
    const { stdout } = await fixture.exec(['ls', '/etc/flatnet-node-test', '/opt/cni/bin/x', '/run/y']);
    expect(stdout.trim().split('\n')).toHaveLength(3);
  });

  test('does not see the folder that holds the keys of the lab', async () => {
    const { stdout } = await fixture.exec(['ls', '-A', fixture.folder]);
    expect(stdout).toBe('');
  });

  test('reaps orphans', async () => {
    await fixture.exec(['sh', '-c', '(sleep 0.05 &) ; sleep 0.3']);
    const { stdout } = await fixture.exec(['ps', '-e', '-o', 'stat=']);
    expect(stdout).not.toContain('Z');
  });

  test('reaches a node of another subnet through the router, with the MTU asked for', async () => {
    const path = ['ping', '-c', '1', '-W', '2', '-M', 'do', '-s', String(1400 - 28), '172.30.1.10'];
    expect((await fixture.exec(path)).stdout).toContain(' 0% packet loss');
    await expect(fixture.exec([...path.slice(0, -2), String(1401 - 28), '172.30.1.10'])).rejects.toThrow(
      /too long|mtu/,
    );
    const six = await fixture.exec(['ping', '-6', '-c', '1', '-W', '2', 'fd00:172:30:1::a']);
    expect(six.stdout).toContain(' 0% packet loss');
  });
});

test('what is stopped leaves no process, mount, namespace or file', async () => {
  const own = await NodeFixture.start('stop');
  const { init } = own.node;
  expect(isRunning(init)).toBe(true);
  await own.stop();
  expect(isRunning(init)).toBe(false);
  expect(listNetns().filter((name) => isNetnsOf(own.lab, name))).toEqual([]);
  expect(existsSync(own.folder)).toBe(false);
  expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(own.folder);
});
