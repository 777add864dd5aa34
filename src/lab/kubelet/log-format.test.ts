import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CHANNEL, decodeExecMessage, encodeExecMessage, exitStatus } from './exec-channel.ts';
import { LogSplitter, parseLogEntry, renderLogEntry } from './log-format.ts';
import { CrashLoop, restarts } from './restart-policy.ts';

const TIME = '2024-05-01T10:00:00.000000000Z';

describe('log entries', () => {
  test('what is read back is what was written, however the pipe cut it', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 40 })), fc.boolean(), (lines, long) => {
        const text = lines.join('\n') + (long ? 'x'.repeat(40_000) : '');
        const splitter = new LogSplitter('stdout');
        let written = '';
        const bytes = Buffer.from(text);
        for (let at = 0; at < bytes.length; at += 7000) {
          written += splitter.push(bytes.subarray(at, at + 7000), TIME);
        }
        written += splitter.end(TIME);
        const entries = written.split('\n').slice(0, -1).map(parseLogEntry);
        expect(entries.map((entry) => (entry === undefined ? '?' : renderLogEntry(entry, {}))).join('')).toBe(
          bytes.toString(),
        );
      }),
    );
  });

  test('timestamps and since', () => {
    const entry = parseLogEntry(`${TIME} stderr F it broke`);
    if (entry === undefined) throw new Error('no entry');
    expect(renderLogEntry(entry, { timestamps: true })).toBe(`${TIME} it broke\n`);
    expect(renderLogEntry(entry, { since: new Date('2024-05-01T10:00:01Z') })).toBe('');
  });
});

describe('exec channels', () => {
  test('stdin, resize and close are told apart; the rest is ignored', () => {
    expect(decodeExecMessage(encodeExecMessage(CHANNEL.stdin, Buffer.from('ls')))).toEqual({
      kind: 'stdin',
      data: Buffer.from('ls'),
    });
    const resize = encodeExecMessage(CHANNEL.resize, Buffer.from('{"Width":80,"Height":24}'));
    expect(decodeExecMessage(resize)).toEqual({ kind: 'resize', columns: 80, rows: 24 });
    expect(decodeExecMessage(Uint8Array.of(255, 0))).toEqual({ kind: 'close', channel: 0 });
    expect(decodeExecMessage(encodeExecMessage(CHANNEL.resize, Buffer.from('{'))).kind).toBe('unknown');
    expect(decodeExecMessage(Uint8Array.of()).kind).toBe('unknown');
  });

  test('an exit code is a cause of the Status on channel 3', () => {
    const message = exitStatus(7);
    expect(message[0]).toBe(3);
    expect(JSON.parse(message.subarray(1).toString())).toMatchObject({
      status: 'Failure',
      reason: 'NonZeroExitCode',
      details: { causes: [{ reason: 'ExitCode', message: '7' }] },
    });
    expect(JSON.parse(exitStatus(0).subarray(1).toString())).toMatchObject({ status: 'Success' });
  });
});

describe('restarts', () => {
  test.each([
    ['Always', 0, true],
    ['OnFailure', 0, false],
    ['OnFailure', 1, true],
    ['Never', 1, false],
    [undefined, 0, true],
  ])('%s after exit code %i', (policy, code, expected) => {
    expect(restarts(policy, code)).toBe(expected);
  });

  test('the first at once, then 10 s doubling to five minutes, forgotten after ten minutes of running', () => {
    const loop = new CrashLoop();
    const delays = [1, 1, 1, 1, 1, 1, 1, 1].map((ran) => loop.delayAfter(ran));
    expect(delays).toEqual([0, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
    expect([loop.delayAfter(600_000), loop.delayAfter(5)]).toEqual([0, 10_000]);
  });
});
