import { expect, test } from 'vitest';
import { describeType, parseTypings } from './descriptions.ts';

test('doc comments of types and members are found', () => {
  const types = parseTypings(`/** A thing. */
export interface Thing {
    /**
     * Two
     * lines.
     */
    size?: number;
    silent: string;
    /** Quoted. */
    "x-y"?: string;
}
/** Other. */
export interface Other {
    /** Of the other. */
    size: number;
}`);
  expect(types.get('Thing')?.text).toBe('A thing.');
  expect([...(types.get('Thing')?.fields ?? [])]).toEqual([
    ['size', 'Two\nlines.'],
    ['x-y', 'Quoted.'],
  ]);
  expect(types.get('Other')?.fields.get('size')).toBe('Of the other.');
});

test('the installed typings describe a Pod and its spec', () => {
  expect(describeType('core.v1.Pod')?.text).toContain('Pod is a collection of containers');
  expect(describeType('core.v1.PodSpec')?.fields.get('nodeName')).toMatch(/node/i);
});
