import type { Server } from 'node:http';
import { ApiClient } from '../cluster/api-client.ts';
import type { ClusterAccess } from '../cluster/access.ts';
import type { Logger } from '../log/logger.ts';
import type { Cidr } from '../net/cidr.ts';
import { sleep } from '../timing/backoff.ts';
import { DnsMetrics } from './dns-metrics.ts';
import { serveHttp } from './http-endpoints.ts';
import { formatListenAddress, type ListenAddress } from './listen-address.ts';
import type { UpstreamServer } from './resolv-conf.ts';
import { Resolver } from './resolver.ts';
import { TcpListener } from './tcp-listener.ts';
import { UdpListener, localAddresses } from './udp-listener.ts';
import { Upstreams } from './upstreams.ts';
import { ZoneFeed } from './zone-feed.ts';
import { ZoneView } from './zone-view.ts';

export interface DnsServerOptions {
  readonly access: ClusterAccess;
  readonly zone: string;
  /** Seconds. */
  readonly ttl: number;
  readonly listen: ListenAddress;
  /** undefined: not served. */
  readonly metricsAddress: ListenAddress | undefined;
  readonly healthAddress: ListenAddress | undefined;
  readonly readyAddress: ListenAddress | undefined;
  readonly upstreams: readonly UpstreamServer[];
  readonly reverseNetworks: readonly Cidr[];
  /** How long questions are still answered after the signal, while Endpoints and proxies forget this server. */
  readonly lameduckMs: number;
  readonly version: string;
  readonly logger: Logger;
}

/** Cluster DNS until the signal is aborted. Rejects when an address cannot be bound. */
export async function serveDns(options: DnsServerOptions, signal: AbortSignal): Promise<void> {
  const { logger, listen } = options;
  const ended = new AbortController();
  const view = new ZoneView({
    zone: options.zone,
    ttl: options.ttl,
    reverseNetworks: options.reverseNetworks,
    ownAddresses: () => ownAddresses(listen),
  });
  const client = new ApiClient(options.access);
  const feed = new ZoneFeed(client, view, logger);
  const metrics = new DnsMetrics(`dns://${formatListenAddress(listen)}`, options.version);
  const upstreams = new Upstreams(options.upstreams, {
    isOwn: (server) => isOwn(server, listen, view),
    onAnswer: (server, seconds, rcode) => metrics.upstream(formatListenAddress(server), seconds, rcode),
  });
  const resolver = new Resolver({ view, isReady: () => feed.hasSynced, upstreams, metrics, logger });
  const tcp = new TcpListener(resolver, logger);
  const udp = new UdpListener(resolver, logger);
  const http: Server[] = [];
  try {
    // TCP first: a port that somebody else has is refused there even when UDP sockets are shared.
    await tcp.listen(listen);
    await udp.listen(listen);
    http.push(...(await serveEndpoints(options, metrics, () => feed.hasSynced && !signal.aborted)));
    const following = feed.run(ended.signal);
    announce(options, upstreams);
    await aborted(signal);
    logger.info({ lameduckMs: options.lameduckMs }, 'stopping: no longer ready, still answering');
    await sleep(options.lameduckMs);
    ended.abort();
    await following;
  } finally {
    ended.abort();
    await Promise.all([tcp.close(), udp.close(), client.close()]);
    for (const server of http) {
      server.close();
      server.closeAllConnections();
    }
  }
}

function announce(options: DnsServerOptions, upstreams: Upstreams): void {
  const servers = options.upstreams.map((server) => server.ip.toString());
  options.logger.info(
    { zone: options.zone, listen: formatListenAddress(options.listen), upstreams: servers },
    'serving cluster DNS',
  );
  if (!upstreams.available) {
    options.logger.warn('no upstream name server: names outside the cluster are refused');
  }
}

async function serveEndpoints(
  options: DnsServerOptions,
  metrics: DnsMetrics,
  isReady: () => boolean,
): Promise<Server[]> {
  const servers: Server[] = [];
  if (options.healthAddress !== undefined) {
    servers.push(
      await serveHttp('health', options.healthAddress, '/health', () => ({ status: 200, body: 'OK' })),
    );
  }
  if (options.readyAddress !== undefined) {
    // CoreDNS answers with the names of the plugins that are not ready.
    servers.push(
      await serveHttp('readiness', options.readyAddress, '/ready', () =>
        isReady() ? { status: 200, body: 'OK' } : { status: 503, body: 'kubernetes' },
      ),
    );
  }
  if (options.metricsAddress !== undefined) {
    servers.push(
      await serveHttp('metrics', options.metricsAddress, '/metrics', async () => ({
        status: 200,
        body: await metrics.text(),
        contentType: metrics.contentType,
      })),
    );
  }
  return servers;
}

function ownAddresses(listen: ListenAddress): ReturnType<typeof localAddresses> {
  if (listen.ip !== undefined) return [listen.ip];
  return localAddresses().filter((ip) => !isLoopback(ip.toString()));
}

function isOwn(server: UpstreamServer, listen: ListenAddress, view: ZoneView): boolean {
  if (view.nameServerAddresses().some((ip) => ip.equals(server.ip))) return true;
  if (server.port !== listen.port) return false;
  if (listen.ip !== undefined) return listen.ip.equals(server.ip);
  return isLoopback(server.ip.toString()) || localAddresses().some((ip) => ip.equals(server.ip));
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
