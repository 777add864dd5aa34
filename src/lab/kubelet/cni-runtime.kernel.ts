import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { NodeFixture } from '../fixture/node-fixture.ts';
import { CniRuntime, type Attachment } from './cni-runtime.ts';

let fixture: NodeFixture;
let cni: CniRuntime;

const ATTACHMENT: Attachment = {
  sandboxId: 'abc123',
  netnsPath: '/run/netns/cni-abc123',
  namespace: 'shop',
  pod: 'web-0',
  uid: 'u-1',
  capabilityArgs: { portMappings: [{ hostPort: 80 }] },
};

/** Writes down how it was called and answers with its own name as address. */
const PLUGIN = `#!/bin/sh
echo "$CNI_COMMAND \${0##*/} $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_PATH $CNI_ARGS" >>/run/calls
cat >>/run/stdin
echo >>/run/stdin
if [ -e /run/fail ]; then echo '{"cniVersion":"1.0.0","code":11,"msg":"no address left","details":"range 10.0.0.0/30"}'; exit 1; fi
echo '{"cniVersion":"1.0.0","ips":[{"address":"10.9.8.7/24"},{"address":"fd00::7/64"}]}'
`;

beforeAll(async () => {
  fixture = await NodeFixture.start('cni');
  cni = new CniRuntime(fixture.node);
  for (const name of ['first', 'second']) {
    writeFileSync(fixture.node.path(`/opt/cni/bin/${name}`), PLUGIN);
    chmodSync(fixture.node.path(`/opt/cni/bin/${name}`), 0o755);
  }
});

afterAll(async () => {
  await fixture?.stop();
});

const inNode = (path: string): string => readFileSync(fixture.node.path(path), 'utf8');

test('without a configuration nothing can be attached', async () => {
  expect(cni.config()).toBeUndefined();
  await expect(cni.add(ATTACHMENT, AbortSignal.timeout(5000))).rejects.toThrow('cni plugin not initialized');
});

test('the chain is run in order with the environment of the specification, and undone backwards', async () => {
  const list = {
    cniVersion: '1.0.0',
    name: 'net',
    plugins: [
      { type: 'first', x: 1 },
      { type: 'second', capabilities: { portMappings: true } },
    ],
  };
  writeFileSync(fixture.node.path('/etc/cni/net.d/10-test.conflist'), JSON.stringify(list));
  expect(await cni.add(ATTACHMENT, AbortSignal.timeout(5000))).toEqual(['10.9.8.7', 'fd00::7']);
  const results = `/var/lib/cni/results/net-${ATTACHMENT.sandboxId}-eth0`;
  expect(JSON.parse(inNode(results))).toMatchObject({ kind: 'cniCacheV1', networkName: 'net' });
  await cni.del(ATTACHMENT);
  const calls = inNode('/run/calls').trim().split('\n');
  expect(calls.map((call) => call.split(' ').slice(0, 2).join(' '))).toEqual([
    'ADD first',
    'ADD second',
    'DEL second',
    'DEL first',
  ]);
  expect(calls[0]).toBe(
    'ADD first abc123 /run/netns/cni-abc123 eth0 /opt/cni/bin IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=abc123;K8S_POD_UID=u-1',
  );
  const inputs = inNode('/run/stdin')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(inputs[0]).toEqual({ type: 'first', x: 1, name: 'net', cniVersion: '1.0.0' });
  expect(inputs[1]).toMatchObject({
    prevResult: { ips: [{ address: '10.9.8.7/24' }, {}] },
    runtimeConfig: ATTACHMENT.capabilityArgs,
  });
  expect(inputs[3]).toHaveProperty('prevResult');
  expect(existsSync(fixture.node.path(results))).toBe(false);
});

test("a plugin's own words are the error", async () => {
  writeFileSync(fixture.node.path('/run/fail'), '');
  await expect(cni.add(ATTACHMENT, AbortSignal.timeout(5000))).rejects.toThrow(
    'plugin type="first" failed (add): no address left: range 10.0.0.0/30',
  );
});
