import { Command, Option } from 'commander';
import type { Overrides } from '../agent/config.ts';

/** flanneld's flags, as commander gives them. */
export interface FlanneldFlags {
  readonly iface?: string[];
  readonly ifaceRegex?: string[];
  readonly ifaceCanReach?: string;
  readonly publicIp?: string;
  readonly publicIpv6?: string;
  readonly ipMasq?: string | boolean;
  readonly subnetFile?: string;
  readonly kubeSubnetMgr?: string | boolean;
  readonly kubeAnnotationPrefix?: string;
  readonly netConfigPath?: string;
  readonly healthzIp?: string;
  readonly healthzPort?: string;
  readonly etcdEndpoints?: string;
  readonly etcdPrefix?: string;
  readonly etcdKeyfile?: string;
  readonly etcdCertfile?: string;
  readonly etcdCafile?: string;
  readonly etcdUsername?: string;
  readonly etcdPassword?: string;
  readonly subnetLeaseRenewMargin?: string;
}

type FlagRow = readonly [flags: string, help: string];

/** Name with what stands behind it, and help; those that are not listed here flatnet does not have. */
const FLAGS: readonly FlagRow[] = [
  ['--iface-can-reach <ip>', 'the interface that packets to this address leave by'],
  ['--public-ip <ip>', "the address that other nodes send to, where it is not the interface's own"],
  ['--public-ipv6 <ip>', 'as --public-ip, of IPv6'],
  ['--ip-masq [bool]', 'give traffic of pods that leaves the cluster the address of the node'],
  ['--subnet-file <file>', 'where subnet.env is written'],
  ['--kube-subnet-mgr [bool]', 'nodes find each other by the Kubernetes API, not by etcd'],
  ['--kube-annotation-prefix <prefix>', 'prefix of the annotations of Node objects'],
  ['--net-config-path <file>', "flannel's net-conf.json (kube-flannel: /etc/kube-flannel/net-conf.json)"],
  ['--healthz-ip <ip>', 'where /healthz is served; needs --healthz-port'],
  ['--healthz-port <port>', 'port of /healthz; 0 for none'],
  ['--etcd-endpoints <urls>', 'nodes find each other by this etcd; several with commas between them'],
  ['--etcd-prefix <key>', 'prefix of the keys in etcd'],
  ['--etcd-keyfile <file>', 'key of the client certificate for etcd'],
  ['--etcd-certfile <file>', 'client certificate for etcd'],
  ['--etcd-cafile <file>', 'who signs the certificates of etcd'],
  ['--etcd-username <name>', 'user of etcd'],
  ['--etcd-password <password>', 'password of etcd; others on the machine can read it'],
  ['--subnet-lease-renew-margin <minutes>', 'how long before its end a lease in etcd is renewed'],
];

const LISTS: readonly FlagRow[] = [
  ['--iface <name or ip>', 'interface that carries the cluster; repeatable, the first that is there'],
  ['--iface-regex <expression>', 'as --iface, by a regular expression; looked at after it; repeatable'],
];

const SWITCHES = new Set(['ip-masq', 'kube-subnet-mgr']);

/** A command that takes its arguments as flanneld does: `-iface=eth0` with one dash, and switches without a value. */
class GoStyleCommand extends Command {
  override parseOptions(argv: string[]): ReturnType<Command['parseOptions']> {
    return super.parseOptions(argv.map(goStyle));
  }
}

function goStyle(word: string): string {
  const match = /^--?([a-z][a-z0-9-]+)(=.*)?$/s.exec(word);
  if (match === null) return word;
  const [, name = '', value = ''] = match;
  return `--${name}${value === '' && SWITCHES.has(name) ? '=true' : value}`;
}

/** A command with flanneld's flags, each also as the environment variable FLANNELD_…. */
export function commandWithFlanneldFlags(name: string): Command {
  const command = new GoStyleCommand(name);
  for (const [flags, help] of LISTS) {
    command.addOption(new Option(flags, help).env(variableOf(flags)).argParser(collect));
  }
  for (const [flags, help] of FLAGS) command.addOption(new Option(flags, help).env(variableOf(flags)));
  return command;
}

const variableOf = (flags: string): string =>
  `FLANNELD_${(/^--([a-z0-9-]+)/.exec(flags)?.[1] ?? '').toUpperCase().replaceAll('-', '_')}`;

const collect = (value: string, before: string[] = []): string[] => [...before, value];

/** What the flags set of the agent's configuration. `alone`: there is no file, and flanneld's defaults count. */
export function overridesOf(flags: FlanneldFlags, alone: boolean): Overrides {
  const etcd = etcdOf(flags);
  const usesEtcd = Object.keys(etcd).length > 0 && !isTrue(flags.kubeSubnetMgr);
  const ipMasq = flags.ipMasq === undefined ? (alone ? false : undefined) : isTrue(flags.ipMasq);
  const netConfigPath = flags.netConfigPath ?? (alone && !usesEtcd ? NET_CONF : undefined);
  const fields = defined({
    iface: flags.iface,
    ifaceRegex: flags.ifaceRegex,
    ifaceCanReach: flags.ifaceCanReach,
    publicIP: flags.publicIp,
    publicIPv6: flags.publicIpv6,
    ipMasq,
    subnetFile: flags.subnetFile,
    kubeAnnotationPrefix: flags.kubeAnnotationPrefix,
    netConfigPath,
    store: usesEtcd ? { etcd } : isTrue(flags.kubeSubnetMgr) ? {} : undefined,
    healthzBindAddress: healthzOf(flags),
    // flanneld leaves Services to kube-proxy.
    proxy: alone ? { enabled: false } : undefined,
  });
  // Then the file's network counts no more.
  return flags.netConfigPath === undefined && !usesEtcd ? fields : { ...fields, network: undefined };
}

const NET_CONF = '/etc/kube-flannel/net-conf.json';

function etcdOf(flags: FlanneldFlags): Record<string, unknown> {
  const margin = flags.subnetLeaseRenewMargin;
  return defined({
    endpoints: flags.etcdEndpoints?.split(','),
    prefix: flags.etcdPrefix,
    keyFile: flags.etcdKeyfile,
    certFile: flags.etcdCertfile,
    caFile: flags.etcdCafile,
    username: flags.etcdUsername,
    password: flags.etcdPassword,
    subnetLeaseRenewMargin: margin === undefined ? undefined : Number(margin),
  });
}

function healthzOf({ healthzIp = '0.0.0.0', healthzPort }: FlanneldFlags): string | undefined {
  if (healthzPort === undefined) return undefined;
  if (healthzPort === '0') return '';
  return `${healthzIp.includes(':') ? `[${healthzIp}]` : healthzIp}:${healthzPort}`;
}

/** As Go's strconv.ParseBool. */
const isTrue = (value: string | boolean | undefined): boolean =>
  value === true || ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(String(value));

const defined = (fields: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
