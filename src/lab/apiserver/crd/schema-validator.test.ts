import { expect, test } from 'vitest';
import { validateBySchema } from './schema-validator.ts';
import { defaultBySchema, pruneBySchema } from './structural-schema.ts';

const SCHEMA = {
  type: 'object',
  properties: {
    spec: {
      type: 'object',
      required: ['size'],
      properties: {
        size: { type: 'string', enum: ['small', 'big'] },
        count: { type: 'integer', minimum: 1, default: 3 },
        port: { 'x-kubernetes-int-or-string': true },
        names: {
          type: 'array',
          'x-kubernetes-list-type': 'set',
          items: { type: 'string', pattern: '^[a-z]+$' },
        },
        extra: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
        labels: { type: 'object', additionalProperties: { type: 'string' } },
      },
    },
  },
};

const errors = (spec: object): string[] =>
  validateBySchema({ spec } as never, SCHEMA).map((cause) => `${cause.field}: ${cause.message}`);

test.each([
  [{ size: 'big', count: 1, port: 'http', names: ['a', 'b'], labels: { a: 'b' } }, []],
  [{}, ['spec.size: Required value']],
  [{ size: 'huge' }, ['spec.size: Unsupported value: "huge": supported values: "small", "big"']],
  [
    { size: 'big', count: 0 },
    ['spec.count: Invalid value: 0: spec.count in body should be greater than or equal to 1'],
  ],
  [
    { size: 'big', count: 'x' },
    ['spec.count: Invalid value: "string": spec.count in body must be of type integer: "string"'],
  ],
  [
    { size: 'big', names: ['A'] },
    ['spec.names[0]: Invalid value: "A": spec.names[0] in body should match \'^[a-z]+$\''],
  ],
  [{ size: 'big', names: ['a', 'a'] }, ['spec.names[1]: Duplicate value: "a"']],
])('%j', (spec, expected) => {
  expect(errors(spec)).toEqual(expected);
});

test('unknown members are dropped and named, defaults are set, free-form objects stay', () => {
  const object = {
    apiVersion: 'x/v1',
    metadata: { name: 'a' },
    spec: { size: 'big', bogus: 1, extra: { any: { thing: 1 } }, labels: { a: 'b' } },
  };
  expect(pruneBySchema(object, SCHEMA)).toEqual(['spec.bogus']);
  defaultBySchema(object, SCHEMA);
  expect(object.spec).toEqual({ size: 'big', count: 3, extra: { any: { thing: 1 } }, labels: { a: 'b' } });
});
