import { expect, test } from 'vitest';
import { runtimeConfigSchema } from './runtime-config.ts';

test('what containerd writes is read: names in upper case, and 0 for what is not asked for', () => {
  const written = {
    portMappings: [
      { HostPort: 8080, ContainerPort: 80, Protocol: 'tcp', HostIP: '' },
      { HostPort: 0, ContainerPort: 9090, Protocol: 'tcp', HostIP: '' },
    ],
    bandwidth: { IngressRate: 20_000_000, IngressBurst: 2 ** 32 - 1, EgressRate: 0, EgressBurst: 0 },
  };
  const { portMappings, bandwidth } = runtimeConfigSchema.parse(written);
  expect(portMappings).toEqual([{ hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIp: undefined }]);
  expect(bandwidth).toEqual({
    ingressRate: 20_000_000,
    ingressBurst: 2 ** 32 - 1,
    egressRate: 0,
    egressBurst: 0,
  });
});

test('a port that is none is named as the conventions call it', () => {
  const result = runtimeConfigSchema.safeParse({ portMappings: [{ HostPort: 70_000, ContainerPort: 80 }] });
  expect(result.error?.issues[0]).toMatchObject({
    path: ['portMappings', 0, 'hostPort'],
    message: 'must be 0 to 65535',
  });
});
