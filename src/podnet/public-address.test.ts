import { expect, test } from 'vitest';
import { Ip } from '../net/ip.ts';
import { choosePublicAddress } from './public-address.ts';

const chosen = (text: string | undefined, configured?: string) => {
  const { ip, reason, problem } = choosePublicAddress({
    node: 'node-1',
    family: 4,
    overwrite: text === undefined ? undefined : { annotation: 'public-ip-overwrite', text },
    configured: configured === undefined ? undefined : Ip.parse(configured),
    own: Ip.parse('172.30.0.1'),
  });
  return { said: `${ip.toString()} by ${reason}`, problem };
};

test.each([
  [undefined, undefined, "172.30.0.1 by the interface's own address"],
  [undefined, '198.51.100.7', '198.51.100.7 by publicIP'],
  ['203.0.113.9', '198.51.100.7', '203.0.113.9 by annotation public-ip-overwrite'],
  ['', '198.51.100.7', '198.51.100.7 by publicIP'],
])('overwrite %j, configured %j: %s', (text, configured, expected) => {
  expect(chosen(text, configured)).toEqual({ said: expected, problem: undefined });
});

test.each([
  ['not an address', 'not an IPv4 address'],
  ['fd00::1', 'not an IPv4 address'],
  ['127.0.0.1', 'which is no address of a node'],
  ['0.0.0.0', 'which is no address of a node'],
  ['224.0.0.5', 'which is no address of a node'],
])('the overwrite %j is told, and what comes after it is taken', (text, fault) => {
  const { said, problem } = chosen(text, '198.51.100.7');
  expect(said).toBe('198.51.100.7 by publicIP');
  expect(problem?.message).toBe(
    `node node-1: annotation public-ip-overwrite is ${JSON.stringify(text)}, ${fault}`,
  );
});
