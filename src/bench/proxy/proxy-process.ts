import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { Registry } from 'prom-client';
import { ApiClient } from '../../cluster/api-client.ts';
import { createLogger } from '../../log/logger.ts';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { PROXY_MODES, type ProxyMode } from '../../proxy/backend.ts';
import { defaultKubeProxyConfig } from '../../proxy/config/parse.ts';
import type { ProxyConfig } from '../../proxy/config/proxy-config.ts';
import { ServiceProxy } from '../../proxy/proxy.ts';
import { NODE_IP, POD_CIDR } from './bench-network.ts';

interface Options {
  readonly mode: ProxyMode;
  readonly server: string;
  readonly certificateAuthority: string;
}

/** The proxy under test: what the agent makes of it, and nothing else, so that memory and CPU are the proxy's. */
export function command(): Command {
  return new Command('proxy-process')
    .addOption(new Option('--mode <mode>').choices(PROXY_MODES).makeOptionMandatory())
    .requiredOption('--server <url>')
    .requiredOption('--certificate-authority <file>')
    .action(async (options: Options) => {
      const client = new ApiClient({
        server: options.server,
        certificateAuthority: readFileSync(options.certificateAuthority, 'utf8'),
        namespace: 'default',
        credentials: async () => Promise.resolve({}),
      });
      const proxy = new ServiceProxy({
        client,
        nodeName: 'node-0',
        config: configOf(options.mode),
        node: { ips: [Ip.parse(NODE_IP)], podCidrs: [], zone: undefined, eligible: true },
        serviceCidrs: [],
        registry: new Registry(),
        logger: createLogger('proxy', 'warn'),
      });
      const stop = new AbortController();
      process.once('SIGTERM', () => stop.abort());
      void proxy.synced().then(() => process.stdout.write('synced\n'));
      await proxy.run(stop.signal);
      await client.close();
    });
}

/** kube-proxy's defaults, but that no change waits for another one: how long a change takes is what is measured. */
function configOf(mode: ProxyMode): ProxyConfig {
  const config = defaultKubeProxyConfig();
  const minSyncPeriod = 0;
  return {
    ...config,
    mode,
    clusterCIDR: [Cidr.parse(POD_CIDR)],
    nodePortAddresses: 'primary',
    iptables: { ...config.iptables, minSyncPeriod },
    ipvs: { ...config.ipvs, minSyncPeriod },
    nftables: { ...config.nftables, minSyncPeriod },
  };
}
