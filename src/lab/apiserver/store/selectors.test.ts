import { describe, expect, test } from 'vitest';
import { parseFieldSelector, parseLabelSelector, pinnedName } from './selectors.ts';

describe('label selectors', () => {
  const labels = { app: 'web', tier: 'front', size: '5' };
  test.each([
    ['app=web', true],
    ['app==web', true],
    ['app!=web', false],
    ['missing!=x', true],
    ['app in (web, api)', true],
    ['app notin (web,api)', false],
    ['missing notin (a)', true],
    ['app', true],
    ['!app', false],
    ['!missing', true],
    ['app=web,tier=front', true],
    ['app=web,tier in (back)', false],
    ['size>4', true],
    ['size<4', false],
    ['app=', false],
  ])('%s', (selector, expected) => {
    expect(parseLabelSelector(selector)(labels)).toBe(expected);
  });

  test.each(['a b', 'a in b', '=x', 'a>b', 'in (x)'])('%s is refused', (selector) => {
    expect(() => parseLabelSelector(selector)).toThrow('unable to parse requirement');
  });
});

describe('field selectors', () => {
  const object = {
    key: 'ns/p',
    namespace: 'ns',
    name: 'p',
    revision: 1,
    text: '',
    labels: {},
    fields: { 'spec.nodeName': 'n1', reason: 'a,b' },
  };
  const supported = new Set(['spec.nodeName', 'status.phase', 'reason']);
  test.each([
    ['metadata.name=p', true],
    ['metadata.namespace!=ns', false],
    ['spec.nodeName=n1,metadata.name==p', true],
    ['spec.nodeName=n2', false],
    ['status.phase=', true],
    [String.raw`reason=a\,b`, true],
  ])('%s', (selector, expected) => {
    expect(parseFieldSelector(selector, supported)(object)).toBe(expected);
  });

  test('a field that the kind does not offer is refused', () => {
    expect(() => parseFieldSelector('spec.foo=1', supported)).toThrow('field label not supported: spec.foo');
  });

  test('a selector of one name is recognised', () => {
    expect(pinnedName('metadata.name=a')).toBe('a');
    expect(pinnedName('metadata.name!=a')).toBeUndefined();
    expect(pinnedName('metadata.name=a,spec.x=b')).toBeUndefined();
  });
});
