import { expect, test } from 'vitest';
import { commandOf } from './container-start.ts';
import { ProbeVerdict } from './probe-loop.ts';

const image = { name: 'x', repositories: [], entrypoint: ['entry', 'point'], cmd: ['default'] };
const variables = new Map([['PORT', '80']]);

// The table of "Define a Command and Arguments for a Container".
test.each([
  [{}, ['entry', 'point', 'default']],
  [{ command: ['own'] }, ['own']],
  [{ args: ['--port=$(PORT)'] }, ['entry', 'point', '--port=80']],
  [{ command: ['own'], args: ['$(PORT)', '$$(PORT)'] }, ['own', '80', '$(PORT)']],
])('%j runs %j', (given, expected) => {
  expect(commandOf({ name: 'c', ...given }, image, variables)).toEqual(expected);
});

test('so many outcomes in a row make a verdict, fewer do not undo it', () => {
  const verdict = new ProbeVerdict({ successThreshold: 2, failureThreshold: 3 });
  const outcomes = [true, true, false, false, true, false, false, false, true, true];
  expect(outcomes.map((outcome) => verdict.add(outcome))).toEqual([
    undefined,
    true,
    true,
    true,
    true,
    true,
    true,
    false,
    false,
    true,
  ]);
});
