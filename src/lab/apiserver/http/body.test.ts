import { describe, expect, it } from 'vitest';
import { StatusError } from '../json/status-error.ts';
import { parseBody } from './body.ts';

const JSON_TYPE = 'application/json';
const YAML_TYPE = 'application/yaml';

function parse(text: string, type: string): unknown {
  return parseBody(Buffer.from(text), type);
}

describe('bodies of requests', () => {
  it('reads JSON that is called YAML, as kubectl sends what it applies', () => {
    expect(parse(' {"a": "<<", "b": [1, null]}', YAML_TYPE)).toEqual({ a: '<<', b: [1, null] });
    expect(parse('{a: b}', YAML_TYPE)).toEqual({ a: 'b' });
  });

  it('takes what is nested as deeply as objects are', () => {
    const deep = '{"a":'.repeat(200) + '1' + '}'.repeat(200);
    expect(parse(deep, JSON_TYPE)).toEqual(JSON.parse(deep));
    expect(parse(`x: ${deep}`, YAML_TYPE)).toEqual({ x: JSON.parse(deep) });
  });

  it('does not take text that only looks nested for nested', () => {
    const script = `a: |\n${'  if [ "$x" = "[" ]; then echo "{{{ \\e[31m"\n'.repeat(500)}`;
    expect(parse(script, YAML_TYPE)).toHaveProperty('a');
    const list = `l:\n${'- {a: "]", b: [1, 2], c: \'{\'}\n'.repeat(500)}`;
    expect((parse(list, YAML_TYPE) as { l: unknown[] }).l).toHaveLength(500);
  });

  it.each([
    ['objects of JSON', '{"a":'.repeat(100_000) + '1' + '}'.repeat(100_000), JSON_TYPE],
    ['arrays of JSON', '['.repeat(100_000) + ']'.repeat(100_000), JSON_TYPE],
    ['JSON called YAML', '{"a":'.repeat(100_000) + '1' + '}'.repeat(100_000), YAML_TYPE],
    ['flow sequences', '['.repeat(200_000), YAML_TYPE],
    ['flow maps', 'x: ' + '{a: '.repeat(50_000), YAML_TYPE],
    ['flow sequences behind quoted brackets', `x: ["]", ${'["]", '.repeat(50_000)}`, YAML_TYPE],
    ['sequences in one line', '- '.repeat(200_000), YAML_TYPE],
    ['keys in one line', '? '.repeat(200_000), YAML_TYPE],
    ['indented maps', Array.from({ length: 600 }, (_, i) => `${' '.repeat(i)}a:\n`).join(''), YAML_TYPE],
  ])('refuses %s that are nested without end', (_, text, type) => {
    expect(() => parse(text, type)).toThrow(/nested too deeply/);
    expect(() => parse(text, type)).toThrow(StatusError);
  });
});
