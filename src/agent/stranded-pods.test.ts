import { expect, test } from 'vitest';
import type { AttachmentRecord } from '../cni/attachments/attachment-record.ts';
import { Cidr } from '../net/cidr.ts';
import { Ip } from '../net/ip.ts';
import { networkSchema } from '../podnet/network-config.ts';
import { strandedPods } from './stranded-pods.ts';

const NETWORK = networkSchema.parse({ Network: '10.244.0.0/16', Backend: { Type: 'host-gw' } });

const pod = (...ips: string[]): AttachmentRecord =>
  ({
    addresses: ips.map((ip) => ({ ip: Ip.parse(ip), prefixLength: 24, gateway: undefined })),
  }) as unknown as AttachmentRecord;

test('pods with addresses of the cluster are counted and named, those with their own ranges are nobody else', () => {
  expect(strandedPods([], NETWORK)).toBeUndefined();
  expect(strandedPods([pod('192.168.7.2')], NETWORK)).toBeUndefined();
  const hosts = [5, 6, 7, 8, 9, 10].map((host) => pod(Cidr.parse('10.244.77.0/24').at(host).toString()));
  expect(strandedPods([pod('192.168.7.2'), ...hosts], NETWORK)?.message).toBe(
    '6 pods of this node have addresses of a subnet that it does not have (10.244.77.5, 10.244.77.6, 10.244.77.7, 10.244.77.8, 10.244.77.9, …): other nodes do not reach them',
  );
});
