import { describe, expect, test } from 'vitest';
import { imageNames, resolveImage } from './catalogue.ts';
import { repositoryOf } from './reference.ts';

describe('repositoryOf', () => {
  test.each([
    ['busybox', 'busybox'],
    ['busybox:1.36', 'busybox'],
    ['docker.io/library/busybox:latest', 'busybox'],
    ['docker.io/busybox', 'busybox'],
    ['localhost:5000/busybox:1', 'busybox'],
    ['registry.k8s.io/e2e-test-images/agnhost:2.53', 'e2e-test-images/agnhost'],
    [`nginx@sha256:${'0'.repeat(64)}`, 'nginx'],
    [`quay.io/nicolaka/netshoot:v0.13@sha256:${'a'.repeat(64)}`, 'nicolaka/netshoot'],
    ['someone/nginx', 'someone/nginx'],
  ])('%s', (reference, repository) => {
    expect(repositoryOf(reference)).toBe(repository);
  });
});

describe('resolveImage', () => {
  test('names agnhost by each of its homes', () => {
    const homes = [
      'registry.k8s.io/e2e-test-images/agnhost:2.40',
      'gcr.io/kubernetes-e2e-test-images/agnhost:2.2',
    ];
    expect(homes.map((home) => resolveImage(home).name)).toEqual(['agnhost', 'agnhost']);
  });

  test('tells which images there are', () => {
    expect(() => resolveImage('postgres:16')).toThrow(/image "postgres:16" not found.*busybox.*nginx.*redis/);
    expect(imageNames()).toContain('nicolaka/netshoot');
  });

  test("somebody's image of the same last name is another image", () => {
    expect(() => resolveImage('someone/nginx')).toThrow(/not found/);
  });
});
