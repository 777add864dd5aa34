import { expect, test } from 'vitest';
import { renderConflist } from './installation.ts';

const wish = {
  networkName: 'cbr0',
  socketPath: '/run/flatnet/cni.sock',
  defaultSocketPath: '/run/flatnet/cni.sock',
};

const plugins = (chainedPlugins: object[]) =>
  (JSON.parse(renderConflist({ ...wish, chainedPlugins })) as { plugins: object[] }).plugins;

test('the plugin takes what runtimes pass on from pods', () => {
  expect(plugins([])).toEqual([
    {
      type: 'flatnet',
      capabilities: { portMappings: true, bandwidth: true, ips: true, mac: true, aliases: true },
    },
  ]);
});

test('a capability that a plugin behind it claims is left to that one', () => {
  const portmap = { type: 'portmap', capabilities: { portMappings: true } };
  const tuning = { type: 'tuning', capabilities: { mac: false }, sysctl: {} };
  expect(plugins([portmap, tuning])).toEqual([
    { type: 'flatnet', capabilities: { bandwidth: true, ips: true, mac: true, aliases: true } },
    portmap,
    tuning,
  ]);
});
