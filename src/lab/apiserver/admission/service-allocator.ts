import type { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import {
  ensureObject,
  type Json,
  type JsonObject,
  numberAt,
  objectAt,
  objectsAt,
  stringAt,
  stringsAt,
} from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { type Cause, invalid, StatusError } from '../json/status-error.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import { isHeadless, needsNodePorts } from '../kinds/service-defaults.ts';
import { invalidValue } from '../validation/field-errors.ts';
import { AddressPool } from './address-pool.ts';
import type { AdmissionPlugin, Change, Reservation } from './admission-plugin.ts';
import { PortPool } from './port-pool.ts';

/** Gives Services their cluster addresses and node ports. */
export class ServiceAllocator implements AdmissionPlugin {
  readonly #pools: readonly AddressPool[];
  readonly #ports: PortPool;

  constructor(ranges: readonly Cidr[], nodePorts: readonly [first: number, last: number]) {
    this.#pools = ranges.map((range) => new AddressPool(range));
    this.#ports = new PortPool(nodePorts[0], nodePorts[1]);
  }

  reserve({ definition, object, old }: Change): Reservation | undefined {
    if (definition.kind !== 'Service' || definition.group !== '') return undefined;
    const attempt = new Attempt(object, old, this.#pools, this.#ports);
    try {
      attempt.allocate();
    } catch (error) {
      attempt.undo();
      throw error;
    }
    return { commit: () => attempt.releaseOld(), rollback: () => attempt.undo() };
  }

  released(object: KubeObject, definition: ResourceDefinition): void {
    if (definition.kind !== 'Service' || definition.group !== '') return;
    for (const ip of addressesOf(object)) poolOf(this.#pools, ip)?.release(ip);
    for (const { port, protocol } of nodePortsOf(object)) this.#ports.release(port, protocol);
  }
}

interface NodePort {
  readonly port: number;
  readonly protocol: string;
}

function addressesOf(object: KubeObject | undefined): Ip[] {
  const spec = objectAt(object, 'spec');
  if (spec === undefined || spec['type'] === 'ExternalName') return [];
  return stringsAt(spec, 'clusterIPs').flatMap((text) => Ip.tryParse(text) ?? []);
}

function nodePortsOf(object: KubeObject | undefined): NodePort[] {
  const ports = objectsAt(object, 'spec', 'ports').flatMap((port) => {
    const number = numberAt(port, 'nodePort');
    return number === undefined ? [] : [{ port: number, protocol: stringAt(port, 'protocol') ?? 'TCP' }];
  });
  const check = numberAt(object, 'spec', 'healthCheckNodePort');
  return check === undefined ? ports : [...ports, { port: check, protocol: 'TCP' }];
}

function poolOf(pools: readonly AddressPool[], ip: Ip): AddressPool | undefined {
  return pools.find((pool) => pool.cidr.family === ip.family);
}

/** What one write takes; undone when the write does not happen. */
class Attempt {
  readonly #object: KubeObject;
  readonly #old: KubeObject | undefined;
  readonly #pools: readonly AddressPool[];
  readonly #ports: PortPool;
  readonly #takenIps: Ip[] = [];
  readonly #takenPorts: NodePort[] = [];

  constructor(
    object: KubeObject,
    old: KubeObject | undefined,
    pools: readonly AddressPool[],
    ports: PortPool,
  ) {
    this.#object = object;
    this.#old = old;
    this.#pools = pools;
    this.#ports = ports;
  }

  allocate(): void {
    const spec = ensureObject(this.#object, 'spec');
    if (spec['type'] === 'ExternalName') return;
    const families = this.#families(spec);
    spec['ipFamilies'] = families.map((family) => `IPv${family}`);
    spec['ipFamilyPolicy'] ??= 'SingleStack';
    if (isHeadless(spec)) {
      spec['clusterIP'] = 'None';
      spec['clusterIPs'] = ['None'];
    } else this.#allocateAddresses(spec, families);
    this.#allocatePorts(spec);
  }

  /** Families by what the Service asks for: addresses first, then families, then policy, else the primary one. */
  #families(spec: JsonObject): IpFamily[] {
    const asked: IpFamily[] = [];
    for (const ip of addressesOf({ ...this.#object, spec })) asked.push(ip.family);
    const single = stringAt(spec, 'clusterIP');
    const ip = asked.length === 0 && single !== undefined ? Ip.tryParse(single) : undefined;
    if (ip !== undefined) asked.push(ip.family);
    const named = stringsAt(spec, 'ipFamilies').map((name): IpFamily => (name === 'IPv6' ? 6 : 4));
    for (const family of named) if (!asked.includes(family)) asked.push(family);
    const served = this.#pools.map((pool) => pool.cidr.family);
    const policy = stringAt(spec, 'ipFamilyPolicy');
    const dual = policy === 'PreferDualStack' || policy === 'RequireDualStack';
    if (asked.length === 0) asked.push(served[0] ?? 4);
    if (dual) asked.push(...served.filter((family) => !asked.includes(family)));
    const missing = asked.find((family) => !served.includes(family));
    if (missing !== undefined)
      throw this.#refuse([
        invalidValue('spec.ipFamilies[0]', `IPv${missing}`, 'not configured on this cluster'),
      ]);
    if (policy === 'RequireDualStack' && asked.length < 2) {
      throw this.#refuse([
        invalidValue('spec.ipFamilyPolicy', policy, 'this cluster is not configured for dual-stack services'),
      ]);
    }
    return dual || asked.length === 1
      ? asked
      : asked.slice(0, policy === undefined || policy === 'SingleStack' ? 1 : 2);
  }

  #allocateAddresses(spec: JsonObject, families: readonly IpFamily[]): void {
    const wanted = stringsAt(spec, 'clusterIPs');
    const single = stringAt(spec, 'clusterIP') ?? '';
    if (wanted.length === 0 && single !== '') wanted.push(single);
    const had = new Set(addressesOf(this.#old).map(String));
    const given = families.map((family, i) => {
      const text = wanted[i];
      if (text === undefined || text === '') return this.#anyAddress(family);
      const ip = Ip.tryParse(text);
      if (ip !== undefined && !had.has(ip.toString())) this.#takeAddress(ip, i);
      return text;
    });
    spec['clusterIP'] = given[0] ?? '';
    spec['clusterIPs'] = given;
  }

  #anyAddress(family: IpFamily): string {
    const pool = this.#pools.find((one) => one.cidr.family === family);
    const ip = pool?.takeAny();
    if (ip === undefined) {
      throw new StatusError(
        500,
        'InternalError',
        `failed to allocate a serviceIP: range ${pool?.cidr.toString() ?? ''} is full`,
      );
    }
    this.#takenIps.push(ip);
    return ip.toString();
  }

  #takeAddress(ip: Ip, index: number): void {
    const pool = poolOf(this.#pools, ip);
    const shown: Json = [ip.toString()];
    const field = `spec.clusterIPs${index === 0 ? '' : `[${index}]`}`;
    if (pool === undefined || !pool.holds(ip)) {
      const range = pool?.cidr.toString() ?? 'any range of this cluster';
      throw this.#refuse([
        invalidValue(
          field,
          shown,
          `failed to allocate IP ${ip.toString()}: the provided IP (${ip.toString()}) is not in the valid range. The range of valid IPs is ${range}`,
        ),
      ]);
    }
    if (!pool.take(ip))
      throw this.#refuse([
        invalidValue(
          field,
          shown,
          `failed to allocate IP ${ip.toString()}: provided IP is already allocated`,
        ),
      ]);
    this.#takenIps.push(ip);
  }

  #allocatePorts(spec: JsonObject): void {
    const had = new Set(nodePortsOf(this.#old).map(({ port, protocol }) => `${protocol}/${port}`));
    if (needsNodePorts(spec)) {
      for (const [i, port] of objectsAt(spec, 'ports').entries())
        this.#allocatePort(port, `spec.ports[${i}].nodePort`, had);
    }
    const check = spec['type'] === 'LoadBalancer' && spec['externalTrafficPolicy'] === 'Local';
    if (!check) delete spec['healthCheckNodePort'];
    else if (spec['healthCheckNodePort'] === undefined) spec['healthCheckNodePort'] = this.#anyPort('TCP');
    else this.#takePort(Number(spec['healthCheckNodePort']), 'TCP', 'spec.healthCheckNodePort', had);
  }

  #allocatePort(port: JsonObject, field: string, had: ReadonlySet<string>): void {
    const protocol = stringAt(port, 'protocol') ?? 'TCP';
    const wanted = numberAt(port, 'nodePort');
    if (wanted === undefined) port['nodePort'] = this.#samePort(port, protocol) ?? this.#anyPort(protocol);
    else this.#takePort(wanted, protocol, field, had);
  }

  /** The same port in another protocol (DNS has both) gets the same node port. */
  #samePort(port: JsonObject, protocol: string): number | undefined {
    for (const other of objectsAt(this.#object, 'spec', 'ports')) {
      const nodePort = numberAt(other, 'nodePort');
      if (other === port || other['port'] !== port['port'] || nodePort === undefined) continue;
      if (!this.#ports.take(nodePort, protocol)) continue;
      this.#takenPorts.push({ port: nodePort, protocol });
      return nodePort;
    }
    return undefined;
  }

  #anyPort(protocol: string): number {
    const port = this.#ports.takeAny(protocol);
    if (port === undefined)
      throw new StatusError(500, 'InternalError', 'failed to allocate a nodePort: range is full');
    this.#takenPorts.push({ port, protocol });
    return port;
  }

  #takePort(port: number, protocol: string, field: string, had: ReadonlySet<string>): void {
    if (had.has(`${protocol}/${port}`)) return;
    if (!this.#ports.holds(port)) {
      throw this.#refuse([
        invalidValue(
          field,
          port,
          `provided port is not in the valid range. The range of valid ports is ${this.#ports.first}-${this.#ports.last}`,
        ),
      ]);
    }
    if (!this.#ports.take(port, protocol))
      throw this.#refuse([invalidValue(field, port, 'provided port is already allocated')]);
    this.#takenPorts.push({ port, protocol });
  }

  #refuse(causes: readonly Cause[]): StatusError {
    return invalid('', 'Service', this.#object.metadata.name ?? '', causes);
  }

  undo(): void {
    for (const ip of this.#takenIps) poolOf(this.#pools, ip)?.release(ip);
    for (const { port, protocol } of this.#takenPorts) this.#ports.release(port, protocol);
  }

  /** After the write: what the Service had and no longer has goes back. */
  releaseOld(): void {
    const kept = new Set(addressesOf(this.#object).map(String));
    for (const ip of addressesOf(this.#old))
      if (!kept.has(ip.toString())) poolOf(this.#pools, ip)?.release(ip);
    const keptPorts = new Set(nodePortsOf(this.#object).map(({ port, protocol }) => `${protocol}/${port}`));
    for (const { port, protocol } of nodePortsOf(this.#old)) {
      if (!keptPorts.has(`${protocol}/${port}`)) this.#ports.release(port, protocol);
    }
  }
}
