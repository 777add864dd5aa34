import { stringify } from 'yaml';
import type { LabOptions } from '../state/lab-options.ts';

/** The agents' configuration file, the same on every node. */
export function agentConfigText(options: LabOptions): string {
  return stringify(
    {
      apiVersion: 'flatnet.dev/v1alpha1',
      kind: 'AgentConfiguration',
      network: {
        Network: options.podCidr,
        EnableIPv4: true,
        ...(options.ipv6 ? { EnableIPv6: true, IPv6Network: options.podCidrV6 } : {}),
        Backend: { Type: options.backend },
      },
      iface: 'eth0',
      serviceCIDRs: [options.serviceCidr, ...(options.ipv6 ? [options.serviceCidrV6] : [])],
    },
    { lineWidth: 0 },
  );
}
