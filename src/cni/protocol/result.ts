import type { Ip } from '../../net/ip.ts';
import type { Mac } from '../../net/mac.ts';
import type { Dns } from './dns.ts';
import type { IpamRoute } from './ipam-config.ts';
import { isAtLeast, type CniVersion } from './version.ts';

/** An address that a container's interface has got. */
export interface ContainerAddress {
  readonly ip: Ip;
  readonly prefixLength: number;
  /** Absent only where a configuration that gives addresses itself gives none. */
  readonly gateway?: Ip | undefined;
}

/** What ADD has made. */
export interface AddResult {
  /** Absent where the interface is routed. */
  readonly bridge: { readonly name: string; readonly mac: Mac } | undefined;
  readonly host: { readonly name: string; readonly mac: Mac };
  readonly container: { readonly name: string; readonly mac: Mac; readonly netns: string };
  /** Of both ends. */
  readonly mtu: number;
  readonly addresses: readonly ContainerAddress[];
  readonly routes: readonly IpamRoute[];
  readonly dns: Dns;
}

/** The result as the given version of the specification writes it; interfaces in the order of Debian's plugins. */
export function renderResult(result: AddResult, cniVersion: CniVersion): string {
  const { bridge, host, container, mtu } = result;
  const recent = isAtLeast(cniVersion, '1.1.0');
  const size = recent ? { mtu } : {};
  const interfaces = [
    ...(bridge === undefined ? [] : [{ name: bridge.name, mac: bridge.mac.toString(), ...size }]),
    { name: host.name, mac: host.mac.toString(), ...size },
    { name: container.name, mac: container.mac.toString(), ...size, sandbox: container.netns },
  ];
  const json = {
    cniVersion,
    interfaces,
    ips: result.addresses.map(({ ip, prefixLength, gateway }) => ({
      // 1.0.0 dropped the family, which the address tells anyway.
      ...(isAtLeast(cniVersion, '1.0.0') ? {} : { version: String(ip.family) }),
      interface: interfaces.length - 1,
      address: `${ip.toString()}/${prefixLength}`,
      ...(gateway === undefined ? {} : { gateway: gateway.toString() }),
    })),
    routes: result.routes.map(({ dst, gw, mtu: routeMtu, priority, table }) => ({
      dst: dst.toString(),
      ...(gw === undefined ? {} : { gw: gw.toString() }),
      ...(recent ? defined({ mtu: routeMtu, priority, table }) : {}),
    })),
    dns: result.dns,
  };
  return `${JSON.stringify(json)}\n`;
}

function defined(values: Readonly<Record<string, number | undefined>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(values).filter((entry): entry is [string, number] => entry[1] !== undefined),
  );
}
