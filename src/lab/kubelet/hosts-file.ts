import type { HostAlias } from 'kubernetes-types/core/v1.js';

export interface HostsFacts {
  readonly hostname: string;
  /** Fully qualified name where the pod has hostname and subdomain. */
  readonly domainName?: string | undefined;
  readonly addresses: readonly string[];
  readonly aliases: readonly HostAlias[];
}

/** Text of a pod's /etc/hosts as the kubelet writes it. */
export function podHostsFile(facts: HostsFacts): string {
  const names = facts.domainName === undefined ? facts.hostname : `${facts.domainName}\t${facts.hostname}`;
  const lines = [
    '# Kubernetes-managed hosts file.',
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::0\tip6-localnet',
    'fe00::0\tip6-mcastprefix',
    'fe00::1\tip6-allnodes',
    'fe00::2\tip6-allrouters',
    ...facts.addresses.map((address) => `${address}\t${names}`),
  ];
  if (facts.aliases.length > 0) {
    lines.push('', '# Entries added by HostAliases.');
    for (const { ip, hostnames } of facts.aliases) lines.push(`${ip ?? ''}\t${(hostnames ?? []).join('\t')}`);
  }
  return `${lines.join('\n')}\n`;
}
