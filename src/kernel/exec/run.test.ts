import { expect, test } from 'vitest';
import { CommandError, run, runSync } from './run.ts';

test('output, input, environment and folder', async () => {
  expect((await run('cat', [], { input: 'größe' })).stdout).toBe('größe');
  const script = 'console.log(process.env.X, process.cwd()); console.error("warned")';
  const result = await run(process.execPath, ['-e', script], { env: { X: '1' }, cwd: '/' });
  expect(result).toMatchObject({ stdout: '1 /\n', stderr: 'warned\n' });
  expect(result.durationMs).toBeGreaterThan(0);
});

test('arguments are never looked at by a shell', async () => {
  expect((await run('printf', ['%s', '$(id) `id`; > x'])).stdout).toBe('$(id) `id`; > x');
});

test('a failure tells the command, the exit code and what the command said', async () => {
  await expect(run('sh', ['-c', 'echo wrong >&2; exit 3'])).rejects.toMatchObject({
    code: 'COMMAND_FAILED',
    exitCode: 3,
    stderr: 'wrong\n',
    message: expect.stringMatching(/^sh -c .*: exit code 3 after \d+ ms: wrong$/) as string,
  });
});

test('a command that is not there, one that takes too long, one that is aborted', async () => {
  await expect(run('no-such-command', [])).rejects.toBeInstanceOf(CommandError);
  await expect(run('no-such-command', [])).rejects.toMatchObject({ code: 'COMMAND_NOT_FOUND' });
  await expect(run('sleep', ['30'], { timeoutMs: 20 })).rejects.toMatchObject({ code: 'COMMAND_TIMEOUT' });
  const control = new AbortController();
  const running = run('sleep', ['30'], { signal: control.signal });
  control.abort();
  await expect(running).rejects.toMatchObject({ code: 'COMMAND_ABORTED' });
  await expect(run('true', [], { signal: control.signal })).rejects.toMatchObject({
    code: 'COMMAND_ABORTED',
  });
});

test('a command that does not read its input ends as it ends', async () => {
  const input = 'x'.repeat(1024 * 1024);
  expect((await run('true', [], { input })).stdout).toBe('');
});

test('in one go: output, exit code and a missing program', () => {
  expect(runSync('cat', [], { input: 'hello' }).stdout).toBe('hello');
  expect(() => runSync('sh', ['-c', 'echo no >&2; exit 3'])).toThrow(/exit code 3 .*: no$/);
  expect(() => runSync('fnt-no-such-program', [])).toThrow('not started');
  expect(() => runSync('sleep', ['5'], { timeoutMs: 20 })).toThrow('it took too long');
});
