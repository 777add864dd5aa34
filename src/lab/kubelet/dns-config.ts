import type { PodSpec } from 'kubernetes-types/core/v1.js';

/** What the kubelet knows of name resolution: its node's own and the cluster's. */
export interface DnsFacts {
  readonly clusterDns: readonly string[];
  readonly clusterDomain: string;
  /** Text of the node's /etc/resolv.conf. */
  readonly nodeResolvConf: string;
}

interface ResolvConf {
  nameservers: string[];
  searches: string[];
  options: Map<string, string | undefined>;
}

/** resolv.conf(5): glibc reads three name servers. */
const MAX_NAMESERVERS = 3;

/** Text of a pod's /etc/resolv.conf by dnsPolicy and dnsConfig ("DNS for Services and Pods"). */
export function podResolvConf(spec: PodSpec, namespace: string, facts: DnsFacts): string {
  const base = basis(spec, namespace, facts);
  const extra = spec.dnsConfig ?? {};
  const options = new Map(base.options);
  for (const { name, value } of extra.options ?? []) {
    if (name !== undefined) options.set(name, value);
  }
  return render({
    nameservers: [...new Set([...base.nameservers, ...(extra.nameservers ?? [])])].slice(0, MAX_NAMESERVERS),
    searches: [...new Set([...base.searches, ...(extra.searches ?? [])])],
    options,
  });
}

function basis(spec: PodSpec, namespace: string, facts: DnsFacts): ResolvConf {
  const node = parse(facts.nodeResolvConf);
  switch (effectivePolicy(spec)) {
    case 'None':
      return { nameservers: [], searches: [], options: new Map() };
    case 'Default':
      return node;
    default: {
      const domain = facts.clusterDomain;
      return {
        nameservers: [...facts.clusterDns],
        searches: [`${namespace}.svc.${domain}`, `svc.${domain}`, domain, ...node.searches],
        options: new Map([['ndots', '5']]),
      };
    }
  }
}

/** A pod on the host's network uses the host's resolver unless it asks for the cluster's by name. */
function effectivePolicy(spec: PodSpec): string {
  const policy = spec.dnsPolicy ?? 'ClusterFirst';
  return policy === 'ClusterFirst' && spec.hostNetwork === true ? 'Default' : policy;
}

function parse(text: string): ResolvConf {
  const conf: ResolvConf = { nameservers: [], searches: [], options: new Map() };
  for (const line of text.split('\n')) {
    const [keyword, ...words] = line.trim().split(/\s+/);
    if (keyword === 'nameserver' && words[0] !== undefined) conf.nameservers.push(words[0]);
    if (keyword === 'search' || keyword === 'domain') conf.searches = words;
    if (keyword === 'options') {
      for (const word of words) {
        const [name = '', value] = word.split(':');
        conf.options.set(name, value);
      }
    }
  }
  return conf;
}

function render(conf: ResolvConf): string {
  const lines: string[] = [];
  if (conf.searches.length > 0) lines.push(`search ${conf.searches.join(' ')}`);
  for (const nameserver of conf.nameservers) lines.push(`nameserver ${nameserver}`);
  const options = [...conf.options].map(([name, value]) => (value === undefined ? name : `${name}:${value}`));
  if (options.length > 0) lines.push(`options ${options.join(' ')}`);
  return `${lines.join('\n')}\n`;
}
