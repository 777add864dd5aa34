import { expect, test } from 'vitest';
import { carriedMounts } from './carried-mounts.ts';

const MOUNTINFO = `22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 254:1 / /usr rw - ext4 /dev/vdb rw
31 27 254:2 / /srv/my\\040code rw shared:1 - xfs /dev/vdc rw
32 31 254:3 / /srv/my\\040code/deep rw - xfs /dev/vdd rw
33 27 0:30 / /tmp rw - tmpfs tmpfs rw
`;

test('only what holds a needed path is carried, the nearest mount of each', () => {
  expect(carriedMounts(MOUNTINFO, ['/etc', '/opt/node/bin/node'])).toEqual([]);
  expect(carriedMounts(MOUNTINFO, ['/usr/bin', '/srv/my code/deep/dist/x.js', '/usr'])).toEqual([
    '/usr',
    '/srv/my code/deep',
  ]);
  expect(carriedMounts(MOUNTINFO, ['/proc/self', '/srv/my codes'])).toEqual([]);
});
