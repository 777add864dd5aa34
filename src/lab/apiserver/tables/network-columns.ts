import { type JsonObject, numberAt, objectAt, objectsAt, stringAt, stringsAt } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { selectorText } from '../json/selector-text.ts';
import { AGE, column, NAME, orNone, table, wide } from './column-builder.ts';
import type { TableColumns } from './table-columns.ts';

/** kubectl shortens what has more entries. */
const MAX_SHOWN = 3;
const WIDE_ADDRESSES = 16;

function loadBalancerAddresses(object: KubeObject): string[] {
  return objectsAt(object, 'status', 'loadBalancer', 'ingress').map(
    (one) => stringAt(one, 'ip') ?? stringAt(one, 'hostname') ?? '',
  );
}

function externalIp(service: KubeObject): string {
  const external = stringsAt(service, 'spec', 'externalIPs');
  switch (stringAt(service, 'spec', 'type')) {
    case 'LoadBalancer': {
      const all = [...new Set([...loadBalancerAddresses(service), ...external])].join(',');
      return all === '' ? '<pending>' : all;
    }
    case 'ExternalName':
      return stringAt(service, 'spec', 'externalName') ?? '';
    default:
      return orNone(external);
  }
}

function servicePorts(service: KubeObject): string {
  return orNone(
    objectsAt(service, 'spec', 'ports').map((port) => {
      const nodePort = numberAt(port, 'nodePort');
      const number = `${numberAt(port, 'port') ?? 0}${nodePort === undefined ? '' : `:${nodePort}`}`;
      return `${number}/${stringAt(port, 'protocol') ?? ''}`;
    }),
  );
}

function mapText(map: JsonObject | undefined): string {
  return orNone(selectorText({ matchLabels: map ?? {} }));
}

export const SERVICE_COLUMNS: TableColumns = table(
  NAME,
  column('Type', (service) => stringAt(service, 'spec', 'type') ?? ''),
  column('Cluster-IP', (service) => orNone(stringAt(service, 'spec', 'clusterIP'))),
  column('External-IP', externalIp),
  column('Port(s)', servicePorts),
  AGE,
  wide('Selector', (service) => mapText(objectAt(service, 'spec', 'selector'))),
);

function shorten(texts: readonly string[], more: number): string {
  return more > 0 ? `${texts.join(',')} + ${more} more...` : orNone(texts);
}

function endpointsCell(endpoints: KubeObject): string {
  const all = objectsAt(endpoints, 'subsets').flatMap((subset) => {
    const addresses = objectsAt(subset, 'addresses').map((one) => stringAt(one, 'ip') ?? '');
    const ports = objectsAt(subset, 'ports').map((port) => numberAt(port, 'port') ?? 0);
    if (ports.length === 0) return addresses;
    return ports.flatMap((port) =>
      addresses.map((ip) => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`)),
    );
  });
  return shorten(all.slice(0, MAX_SHOWN), all.length - MAX_SHOWN);
}

export const ENDPOINTS_COLUMNS: TableColumns = table(NAME, column('Endpoints', endpointsCell), AGE);

function slicePorts(slice: KubeObject): string {
  const ports = objectsAt(slice, 'ports');
  if (ports.length === 0) return '<unset>';
  const texts = ports.slice(0, MAX_SHOWN).map((port) => {
    const number = numberAt(port, 'port');
    return number === undefined ? (stringAt(port, 'name') ?? '*') : String(number);
  });
  return shorten(texts, ports.length - MAX_SHOWN);
}

function sliceEndpoints(slice: KubeObject): string {
  const all = objectsAt(slice, 'endpoints').flatMap((endpoint) => stringsAt(endpoint, 'addresses'));
  return all.length === 0 ? '<unset>' : shorten(all.slice(0, MAX_SHOWN), all.length - MAX_SHOWN);
}

export const ENDPOINT_SLICE_COLUMNS: TableColumns = table(
  NAME,
  column('AddressType', (slice) => stringAt(slice, 'addressType') ?? ''),
  column('Ports', slicePorts),
  column('Endpoints', sliceEndpoints),
  AGE,
);

function hosts(ingress: KubeObject): string {
  const all = objectsAt(ingress, 'spec', 'rules').map((rule) => stringAt(rule, 'host') ?? '*');
  if (all.length === 0) return '*';
  return shorten(all.slice(0, MAX_SHOWN), all.length - MAX_SHOWN);
}

export const INGRESS_COLUMNS: TableColumns = table(
  NAME,
  column('Class', (ingress) =>
    orNone(
      stringAt(ingress, 'spec', 'ingressClassName') ??
        stringAt(ingress, 'metadata', 'annotations', 'kubernetes.io/ingress.class'),
    ),
  ),
  column('Hosts', hosts),
  column('Address', (ingress) => loadBalancerAddresses(ingress).slice(0, WIDE_ADDRESSES).join(',')),
  column('Ports', (ingress) => (objectsAt(ingress, 'spec', 'tls').length > 0 ? '80, 443' : '80')),
  AGE,
);

function parameters(ingressClass: KubeObject): string {
  const reference = objectAt(ingressClass, 'spec', 'parameters');
  if (reference === undefined) return '<none>';
  const group = stringAt(reference, 'apiGroup') ?? '';
  const kind = stringAt(reference, 'kind') ?? '';
  return `${kind}${group === '' ? '' : `.${group}`}/${stringAt(reference, 'name') ?? ''}`;
}

export const INGRESS_CLASS_COLUMNS: TableColumns = table(
  NAME,
  column('Controller', (one) => stringAt(one, 'spec', 'controller') ?? ''),
  column('Parameters', parameters),
  AGE,
);

export const NETWORK_POLICY_COLUMNS: TableColumns = table(
  NAME,
  column('Pod-Selector', (policy) => orNone(selectorText(objectAt(policy, 'spec', 'podSelector') ?? {}))),
  AGE,
);
