import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Cidr } from '../../net/cidr.ts';
import { checkLabName } from './lab-name.ts';

/** Backends that connect nodes, for whom IPv6 is among what they carry. */
export const LAB_BACKENDS: Readonly<Record<string, { readonly ipv6: boolean }>> = {
  vxlan: { ipv6: true },
  'host-gw': { ipv6: true },
  wireguard: { ipv6: true },
  udp: { ipv6: false },
  ipip: { ipv6: false },
};

/** What a lab shall be; all of it is known before anything is made. */
export interface LabOptions {
  readonly name: string;
  readonly nodes: number;
  /** Underlay subnets; nodes are spread over them, the fabric routes between them. */
  readonly subnets: number;
  /** Of the underlay's links. */
  readonly mtu: number;
  readonly ipv6: boolean;
  readonly backend: string;
  readonly controlPlane: 'embedded' | 'real';
  readonly podCidr: string;
  readonly serviceCidr: string;
  readonly podCidrV6: string;
  readonly serviceCidrV6: string;
  /** On 127.0.0.1; 0 takes a free port. */
  readonly apiPort: number;
}

export const DEFAULT_LAB_OPTIONS: LabOptions = {
  name: 'lab',
  nodes: 3,
  subnets: 1,
  mtu: 1500,
  ipv6: false,
  backend: 'vxlan',
  controlPlane: 'embedded',
  podCidr: '10.244.0.0/16',
  serviceCidr: '10.96.0.0/16',
  podCidrV6: 'fd00:10:244::/56',
  serviceCidrV6: 'fd00:10:96::/112',
  apiPort: 0,
};

/** The underlay: subnet i is 172.30.i.0/24, the outside client stands in 172.30.255.0/24. */
export const UNDERLAY = '172.30.0.0/16';
export const UNDERLAY_V6 = 'fd00:172:30::/48';
const NODES_PER_SUBNET = 200;
const NODE_CIDR_BITS = 24;

/** Refuses what could not work, naming the option and the remedy. */
export function checkLabOptions(options: LabOptions): LabOptions {
  checkLabName(options.name);
  whole('--nodes', options.nodes, 1, 250);
  whole('--subnets', options.subnets, 1, 200);
  whole('--mtu', options.mtu, options.ipv6 ? 1280 + 80 : 576, 65_535);
  if (options.ipv6 && LAB_BACKENDS[options.backend]?.ipv6 === false) {
    throw invalid(`--ipv6 with --backend ${options.backend}`, 'it carries IPv4 only; use vxlan or wireguard');
  }
  whole('--api-port', options.apiPort, 0, 65_535);
  if (Math.ceil(options.nodes / options.subnets) > NODES_PER_SUBNET) {
    throw invalid(
      `--nodes ${options.nodes}`,
      `a subnet holds ${NODES_PER_SUBNET} nodes; ask for more --subnets`,
    );
  }
  const ranges: [string, Cidr][] = [
    ['--pod-cidr', parseRange('--pod-cidr', options.podCidr, 4)],
    ['--service-cidr', parseRange('--service-cidr', options.serviceCidr, 4)],
    ['the underlay', Cidr.parse(UNDERLAY)],
  ];
  if (options.ipv6) {
    ranges.push(
      ['--pod-cidr-v6', parseRange('--pod-cidr-v6', options.podCidrV6, 6)],
      ['--service-cidr-v6', parseRange('--service-cidr-v6', options.serviceCidrV6, 6)],
      ['the underlay', Cidr.parse(UNDERLAY_V6)],
    );
  }
  refuseOverlaps(ranges);
  refuseSmall(options);
  return options;
}

function parseRange(option: string, text: string, family: 4 | 6): Cidr {
  let cidr: Cidr;
  try {
    cidr = Cidr.parseStrict(text);
  } catch (cause) {
    const hint = cause instanceof FlatnetError ? cause.hint : undefined;
    throw invalid(`${option} ${text}`, hint ?? 'write it like 10.244.0.0/16', cause);
  }
  if (cidr.family !== family) throw invalid(`${option} ${text}`, `it must be an IPv${family} range`);
  return cidr;
}

function refuseOverlaps(ranges: readonly [string, Cidr][]): void {
  for (const [index, [name, range]] of ranges.entries()) {
    for (const [other, otherRange] of ranges.slice(index + 1)) {
      if (!range.overlaps(otherRange)) continue;
      throw new FlatnetError(`${name} ${range.toString()} overlaps ${other} ${otherRange.toString()}`, {
        code: 'RANGES_OVERLAP',
        hint: 'pods, services and nodes need addresses of their own; choose ranges that share none',
      });
    }
  }
}

function refuseSmall(options: LabOptions): void {
  const pods = Cidr.parse(options.podCidr);
  const blocks = 2 ** Math.max(0, NODE_CIDR_BITS - pods.prefixLength);
  if (pods.prefixLength > NODE_CIDR_BITS || blocks < options.nodes) {
    throw invalid(
      `--pod-cidr ${options.podCidr}`,
      `it holds ${pods.prefixLength > NODE_CIDR_BITS ? 0 : blocks} blocks of /${NODE_CIDR_BITS}, one is needed for each of ${options.nodes} nodes`,
    );
  }
  if (Cidr.parse(options.serviceCidr).size < 16n) {
    throw invalid(
      `--service-cidr ${options.serviceCidr}`,
      'the DNS service needs its tenth address; use /28 or larger',
    );
  }
}

function whole(option: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw invalid(`${option} ${value}`, `use a whole number from ${min} to ${max}`);
}

function invalid(what: string, hint: string, cause?: unknown): FlatnetError {
  return new FlatnetError(`${what} cannot be used`, {
    code: 'INVALID_LAB_OPTION',
    hint,
    ...(cause === undefined ? {} : { cause }),
  });
}
