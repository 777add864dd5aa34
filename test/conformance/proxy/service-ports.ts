import type { ServicePort } from '../../../src/proxy/services/service-port.ts';

/** A service port of which a test says only what it is about. */
export function servicePort(part: Partial<ServicePort>): ServicePort {
  const { service = 'test/web', port = 80, protocol = 'TCP', family = 4, endpoints = [] } = part;
  return {
    id: `${service}:${port}/${protocol}/${family}`,
    service,
    portName: '',
    family,
    protocol,
    address: family === 4 ? '10.96.0.1' : 'fd00:10:96::1',
    port,
    nodePort: 0,
    externalIps: [],
    loadBalancerIps: [],
    sourceRanges: undefined,
    internalLocal: false,
    externalLocal: false,
    healthCheckNodePort: 0,
    affinitySeconds: 0,
    endpoints,
    localEndpoints: endpoints.filter(({ local }) => local),
    hasEndpoints: endpoints.length > 0,
    ...part,
  };
}
