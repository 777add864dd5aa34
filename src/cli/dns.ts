import manifest from '../../package.json' with { type: 'json' };
import { readFile } from 'node:fs/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import { inClusterAccess } from '../cluster/in-cluster.ts';
import { loadKubeconfig } from '../cluster/kubeconfig.ts';
import { serveDns } from '../dns/dns-server.ts';
import { parseListenAddress, type ListenAddress } from '../dns/listen-address.ts';
import { parseResolvConf, type UpstreamServer } from '../dns/resolv-conf.ts';
import { FlatnetError, describeError } from '../errors/flatnet-error.ts';
import { createLogger, type Logger } from '../log/logger.ts';
import { Cidr } from '../net/cidr.ts';
import { Ip } from '../net/ip.ts';

interface DnsFlags {
  kubeconfig?: string;
  zone: string;
  listen: ListenAddress | '';
  ttl: number;
  metricsAddress: ListenAddress | '';
  healthAddress: ListenAddress | '';
  readyAddress: ListenAddress | '';
  upstream?: UpstreamServer[];
  resolvConf: string;
  reverseCidr?: Cidr[];
  lameduck: number;
}

/** `flatnet dns`: the cluster's name server. */
export function command(): Command {
  return new Command('dns')
    .description(
      'Serves cluster DNS: the Kubernetes DNS specification 1.1.0 over UDP and TCP, everything else by forwarding.',
    )
    .option('--kubeconfig <file>', 'how to reach the API server (default: the service account of the pod)')
    .option('--zone <domain>', 'the cluster domain', 'cluster.local')
    .addOption(address('--listen', 'where to answer; without a host, on every address', ':53'))
    .option('--ttl <seconds>', 'time to live of the records and of negative answers', checked(parseTtl), 30)
    .addOption(address('--metrics-address', 'Prometheus metrics at /metrics; "" for none', ':9153'))
    .addOption(address('--health-address', 'liveness at /health; "" for none', ':8080'))
    .addOption(address('--ready-address', 'readiness at /ready; "" for none', ':8181'))
    .option(
      '--upstream <address>',
      'name server for other names, instead of those in the file below; repeatable',
      checked(parseUpstream),
    )
    .option('--resolv-conf <file>', 'where the name servers for other names are listed', '/etc/resolv.conf')
    .option(
      '--reverse-cidr <network>',
      'addresses whose reverse lookups never leave the cluster; repeatable',
      checked(parseNetwork),
    )
    .option(
      '--lameduck <seconds>',
      'answer for so long after SIGTERM, while clients are led elsewhere',
      checked(parseSeconds),
      5,
    )
    .addHelpText(
      'after',
      `
Try it beside a cluster:
  flatnet dns --kubeconfig ~/.kube/config --listen 127.0.0.1:5353 --metrics-address ""
  dig @127.0.0.1 -p 5353 kubernetes.default.svc.cluster.local
  dig @127.0.0.1 -p 5353 _https._tcp.kubernetes.default.svc.cluster.local SRV`,
    )
    .action(async (flags: DnsFlags) => run(flags));
}

function address(flag: string, description: string, fallback: string): Option {
  return new Option(`${flag} <address>`, description)
    .argParser(endpoint)
    .default(parseListenAddress(fallback), fallback);
}

async function run(flags: DnsFlags): Promise<void> {
  const logger = createLogger('dns');
  const { listen } = flags;
  if (listen === '') {
    throw new FlatnetError('--listen: there is nothing to serve without an address', { code: 'USAGE' });
  }
  const access =
    flags.kubeconfig === undefined ? await inClusterAccess() : await loadKubeconfig(flags.kubeconfig);
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.on(name, () => {
      // Ctrl-C, or a second signal: now.
      if (name === 'SIGINT' || stop.signal.aborted) process.exit(0);
      stop.abort();
    });
  }
  await serveDns(
    {
      access,
      zone: flags.zone,
      ttl: flags.ttl,
      listen,
      metricsAddress: flags.metricsAddress || undefined,
      healthAddress: flags.healthAddress || undefined,
      readyAddress: flags.readyAddress || undefined,
      upstreams: flags.upstream ?? (await readUpstreams(flags.resolvConf, logger)),
      reverseNetworks: flags.reverseCidr ?? [],
      lameduckMs: flags.lameduck * 1000,
      version: manifest.version,
      logger,
    },
    stop.signal,
  );
}

async function readUpstreams(file: string, logger: Logger): Promise<UpstreamServer[]> {
  try {
    return parseResolvConf(await readFile(file, 'utf8'));
  } catch (error) {
    logger.warn({ file, err: error }, 'no upstream name servers: the file cannot be read');
    return [];
  }
}

/** Lets commander name the flag when a value does not parse; values of a repeated flag are collected. */
function checked<T, B>(parse: (text: string, before: B) => T): (text: string, before: B) => T {
  return (text, before) => {
    try {
      return parse(text, before);
    } catch (error) {
      throw new InvalidArgumentError(describeError(error));
    }
  };
}

// Not undefined: commander would take that for no answer.
const endpoint = checked((text: string): ListenAddress | '' => (text === '' ? '' : parseListenAddress(text)));

function parseUpstream(text: string, before: UpstreamServer[] | undefined): UpstreamServer[] {
  const bare = Ip.tryParse(text);
  const address = bare === undefined ? parseListenAddress(text) : { ip: bare, port: 53 };
  if (address.ip === undefined) throw new InvalidArgumentError('an upstream needs an address');
  return [...(before ?? []), { ip: address.ip, port: address.port }];
}

function parseNetwork(text: string, before: Cidr[] | undefined): Cidr[] {
  return [...(before ?? []), Cidr.parse(text)];
}

function parseTtl(text: string): number {
  const seconds = Number(text);
  // The range that CoreDNS accepts.
  if (!Number.isInteger(seconds) || seconds < 0 || seconds > 3600) {
    throw new InvalidArgumentError('whole seconds, 0 to 3600');
  }
  return seconds;
}

function parseSeconds(text: string): number {
  const seconds = Number(text.replace(/s$/, ''));
  if (!(seconds >= 0 && seconds <= 3600)) throw new InvalidArgumentError('seconds, 0 to 3600');
  return seconds;
}
