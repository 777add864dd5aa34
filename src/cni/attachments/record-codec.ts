import * as z from 'zod';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { Mac } from '../../net/mac.ts';
import { isContainerId, isInterfaceName } from '../protocol/identifiers.ts';
import type { AttachmentRecord } from './attachment-record.ts';

const ip = z.string().transform((text) => Ip.parse(text));

const address = z.object({
  address: z.string().transform((text) => ({
    ip: Ip.parse(text.split('/')[0] ?? ''),
    prefixLength: Cidr.parse(text).prefixLength,
  })),
  gateway: ip.optional(),
});

const schema = z.object({
  containerID: z.string().refine(isContainerId),
  ifname: z.string().refine(isInterfaceName),
  network: z.string(),
  netns: z.string(),
  pod: z.string().optional(),
  mode: z.enum(['bridge', 'ptp']),
  hostInterface: z.string().refine(isInterfaceName),
  addresses: z.array(address),
  hairpin: z.boolean().optional(),
  mtu: z.int().optional(),
  pool: z.object({ network: z.string(), dataDir: z.string().optional() }).optional(),
  runtimeConfig: z.object({
    portMappings: z.array(
      z.object({
        hostPort: z.int(),
        containerPort: z.int(),
        protocol: z.enum(['tcp', 'udp', 'sctp']),
        hostIP: ip.optional(),
      }),
    ),
    bandwidth: z
      .object({
        ingressRate: z.number(),
        ingressBurst: z.number(),
        egressRate: z.number(),
        egressBurst: z.number(),
      })
      .optional(),
    ips: z.array(z.object({ ip, prefixLength: z.int().optional() })),
    mac: z
      .string()
      .transform((text) => Mac.parse(text))
      .optional(),
    aliases: z.array(z.string()),
  }),
});

/** The record as one line of text, in the words of the specification where it has them. */
export function formatRecord(record: AttachmentRecord): string {
  const { containerId, ifName, addresses, runtimeConfig, ...rest } = record;
  const portMappings = runtimeConfig.portMappings.map(({ hostIp, ...mapping }) => ({
    ...mapping,
    hostIP: hostIp?.toString(),
  }));
  const json = {
    containerID: containerId,
    ifname: ifName,
    ...rest,
    addresses: addresses.map(({ ip: own, prefixLength, gateway }) => ({
      address: `${own.toString()}/${prefixLength}`,
      gateway: gateway?.toString(),
    })),
    runtimeConfig: {
      ...runtimeConfig,
      portMappings,
      ips: runtimeConfig.ips.map((asked) => ({ ...asked, ip: asked.ip.toString() })),
      mac: runtimeConfig.mac?.toString(),
    },
  };
  return JSON.stringify(json);
}

/** Throws for anything that `formatRecord` has not written. */
export function parseRecord(text: string): AttachmentRecord {
  const { containerID, ifname, addresses, pool, runtimeConfig, ...rest } = schema.parse(JSON.parse(text));
  const { bandwidth, mac } = runtimeConfig;
  return {
    ...rest,
    containerId: containerID,
    ifName: ifname,
    pod: rest.pod,
    hairpin: rest.hairpin,
    mtu: rest.mtu,
    addresses: addresses.map(({ address: own, gateway }) => ({ ...own, gateway })),
    pool: pool && { network: pool.network, dataDir: pool.dataDir },
    runtimeConfig: {
      aliases: runtimeConfig.aliases,
      bandwidth,
      mac,
      ips: runtimeConfig.ips.map((asked) => ({ ip: asked.ip, prefixLength: asked.prefixLength })),
      portMappings: runtimeConfig.portMappings.map(({ hostIP, ...mapping }) => ({
        ...mapping,
        hostIp: hostIP,
      })),
    },
  };
}
