import { FlatnetError } from '../../errors/flatnet-error.ts';
import { ERRNO, errnoError } from '../libc/errno.ts';
import {
  describeIpvsChange,
  realServerText,
  SCHEDULERS,
  serverText,
  type IpvsChange,
  type IpvsInfo,
  type IpvsKernel,
  type IpvsRefusal,
  type IpvsTimeouts,
  type ObservedRealServer,
  type RealServer,
  type RealServerKey,
  type VirtualServer,
  type VirtualServerKey,
} from './objects.ts';

interface HeldServer {
  server: VirtualServer;
  readonly destinations: Map<string, ObservedRealServer>;
}

/** IPVS in memory that answers as Linux does. Connections are what a test says there are. */
export class FakeIpvs implements IpvsKernel {
  /** Every change that was asked for, as `describeIpvsChange` prints it. */
  readonly calls: string[] = [];
  readonly schedulers = new Set<string>(SCHEDULERS);
  readonly #servers = new Map<string, HeldServer>();
  #timeouts: IpvsTimeouts = { tcp: 900, tcpFin: 120, udp: 300 };

  virtualServers(): VirtualServer[] {
    return [...this.#servers.values()].map(({ server }) => server);
  }

  countServers(): number {
    return this.#servers.size;
  }

  virtualServer(key: VirtualServerKey): VirtualServer | undefined {
    return this.#servers.get(serverText(key))?.server;
  }

  realServers(server: VirtualServerKey): ObservedRealServer[] {
    return [...(this.#servers.get(serverText(server))?.destinations.values() ?? [])];
  }

  apply(changes: readonly IpvsChange[]): IpvsRefusal[] {
    return changes.flatMap((change) => {
      const doing = `program IPVS (${describeIpvsChange(change)})`;
      this.calls.push(describeIpvsChange(change));
      const errno = this.#tryChange(change);
      return errno === 0 ? [] : [{ change, error: errnoError(doing, errno) }];
    });
  }

  /** Says how many connections a real server has. */
  setConnections(server: VirtualServerKey, key: RealServerKey, active: number, inactive = 0): void {
    const destinations = this.#servers.get(serverText(server))?.destinations;
    const found = destinations?.get(realServerText(key));
    if (found === undefined) throw new FlatnetError('no such real server', { code: 'ENOENT' });
    destinations?.set(realServerText(key), {
      ...found,
      activeConnections: active,
      inactiveConnections: inactive,
    });
  }

  timeouts(): IpvsTimeouts {
    return this.#timeouts;
  }

  setTimeouts({ tcp, tcpFin, udp }: Partial<IpvsTimeouts>): void {
    const old = this.#timeouts;
    this.#timeouts = { tcp: tcp || old.tcp, tcpFin: tcpFin || old.tcpFin, udp: udp || old.udp };
  }

  info(): IpvsInfo {
    return { version: '1.2.1', connectionTableSize: 4096 };
  }

  flush(): void {
    this.#servers.clear();
  }

  close(): void {}

  #tryChange(change: IpvsChange): number {
    const name = serverText(change.server);
    const held = this.#servers.get(name);
    switch (change.operation) {
      case 'add-server':
        if (held !== undefined) return ERRNO.EEXIST;
        if (!this.schedulers.has(change.server.scheduler)) return ERRNO.ENOENT;
        this.#servers.set(name, { server: change.server, destinations: new Map() });
        return 0;
      case 'set-server':
        if (held === undefined) return ERRNO.ESRCH;
        if (!this.schedulers.has(change.server.scheduler)) return ERRNO.ENOENT;
        held.server = change.server;
        return 0;
      case 'delete-server':
        return this.#servers.delete(name) ? 0 : ERRNO.ESRCH;
      case 'add-destination':
      case 'set-destination':
        return held === undefined
          ? ERRNO.ESRCH
          : setDestination(held, change.destination, change.operation === 'add-destination');
      case 'delete-destination':
        if (held === undefined) return ERRNO.ESRCH;
        return held.destinations.delete(realServerText(change.destination)) ? 0 : ERRNO.ENOENT;
    }
    return change satisfies never;
  }
}

function setDestination({ destinations }: HeldServer, destination: RealServer, added: boolean): number {
  const key = realServerText(destination);
  const old = destinations.get(key);
  if (added && old !== undefined) return ERRNO.EEXIST;
  if (!added && old === undefined) return ERRNO.ENOENT;
  const none = { activeConnections: 0, inactiveConnections: 0, persistentConnections: 0 };
  destinations.set(key, { ...none, ...old, ...destination });
  return 0;
}
