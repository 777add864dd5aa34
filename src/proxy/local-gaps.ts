import type { IpFamily } from '../net/ip.ts';
import type { ServicePort } from './services/service-port.ts';

const FAMILIES = [4, 6] as const;
const POLICIES = ['internal', 'external'] as const;
type Policy = (typeof POLICIES)[number];

/** Counts the service ports that are local by policy, have endpoints, but none here: what calls them is dropped. */
export class LocalGaps {
  readonly #gaps: Readonly<Record<IpFamily, Record<Policy, Set<string>>>> = {
    4: { internal: new Set(), external: new Set() },
    6: { internal: new Set(), external: new Set() },
  };

  reset(): void {
    for (const family of FAMILIES) for (const policy of POLICIES) this.#gaps[family][policy].clear();
  }

  set(id: string, port: ServicePort | undefined): void {
    const { internal, external } = this.#gaps[id.endsWith('/6') ? 6 : 4];
    const gap = port !== undefined && port.hasEndpoints && port.localEndpoints.length === 0;
    const outside =
      gap && (port.nodePort !== 0 || port.externalIps.length > 0 || port.loadBalancerIps.length > 0);
    if (gap && port.internalLocal) internal.add(id);
    else internal.delete(id);
    if (outside && port.externalLocal) external.add(id);
    else external.delete(id);
  }

  counts(): { readonly family: IpFamily; readonly policy: Policy; readonly count: number }[] {
    return FAMILIES.flatMap((family) =>
      POLICIES.map((policy) => ({ family, policy, count: this.#gaps[family][policy].size })),
    );
  }
}
