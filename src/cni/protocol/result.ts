import type { Ip } from '../../net/ip.ts';
import type { Mac } from '../../net/mac.ts';
import type { CniVersion } from './version.ts';

/** An address that a container's interface has got. */
export interface ContainerAddress {
  readonly ip: Ip;
  readonly prefixLength: number;
  readonly gateway: Ip;
}

/** What ADD has made. */
export interface AddResult {
  readonly bridge: { readonly name: string; readonly mac: Mac };
  readonly host: { readonly name: string; readonly mac: Mac };
  readonly container: { readonly name: string; readonly mac: Mac; readonly netns: string };
  readonly addresses: readonly ContainerAddress[];
}

/** Index of the container's interface in `interfaces`, in the order that Debian's bridge plugin reports too. */
const CONTAINER_INDEX = 2;

/** The result as the given version of the specification writes it. */
export function renderResult(result: AddResult, cniVersion: CniVersion): string {
  const { bridge, host, container } = result;
  const json = {
    cniVersion,
    interfaces: [
      { name: bridge.name, mac: bridge.mac.toString() },
      { name: host.name, mac: host.mac.toString() },
      { name: container.name, mac: container.mac.toString(), sandbox: container.netns },
    ],
    ips: result.addresses.map(({ ip, prefixLength, gateway }) => ({
      // 1.0.0 dropped the family, which the address tells anyway.
      ...(cniVersion === '1.0.0' ? {} : { version: String(ip.family) }),
      interface: CONTAINER_INDEX,
      address: `${ip.toString()}/${prefixLength}`,
      gateway: gateway.toString(),
    })),
    routes: result.addresses.map(({ ip, gateway }) => ({
      dst: ip.family === 4 ? '0.0.0.0/0' : '::/0',
      gw: gateway.toString(),
    })),
    dns: {},
  };
  return `${JSON.stringify(json)}\n`;
}
