import { describeChanges } from './changes-suite.ts';
describeChanges({
  name: 'userspace',
  mode: 'userspace',
  async open(settings, netns) {
    const { UserspaceBackend } = await import('../../../src/proxy/backends/userspace/backend.ts');
    return await UserspaceBackend.open(settings, {}, undefined, netns);
  },
});
