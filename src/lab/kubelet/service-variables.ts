/** Of a Service, what its environment variables are made of. */
export interface ServiceFacts {
  readonly namespace: string;
  readonly name: string;
  readonly clusterIp: string;
  readonly ports: readonly { readonly name: string; readonly port: number; readonly protocol: string }[];
}

/**
 * Variables that tell a container about Services ("Discovering services"): those of its namespace where
 * enableServiceLinks is on, and always the API server's.
 */
export function serviceVariables(
  services: Iterable<ServiceFacts>,
  namespace: string,
  linksEnabled: boolean,
): Map<string, string> {
  const variables = new Map<string, string>();
  for (const service of services) {
    const isApi = service.namespace === 'default' && service.name === 'kubernetes';
    if (!isApi && (!linksEnabled || service.namespace !== namespace)) continue;
    if (service.clusterIp === '' || service.clusterIp === 'None') continue;
    addService(variables, service);
  }
  return variables;
}

function addService(variables: Map<string, string>, { name, clusterIp, ports }: ServiceFacts): void {
  const prefix = variableName(name);
  const host = clusterIp.includes(':') ? `[${clusterIp}]` : clusterIp;
  variables.set(`${prefix}_SERVICE_HOST`, clusterIp);
  for (const [index, port] of ports.entries()) {
    if (index === 0) variables.set(`${prefix}_SERVICE_PORT`, String(port.port));
    if (port.name !== '')
      variables.set(`${prefix}_SERVICE_PORT_${variableName(port.name)}`, String(port.port));
    const protocol = port.protocol.toLowerCase();
    const url = `${protocol}://${host}:${port.port}`;
    const long = `${prefix}_PORT_${port.port}_${port.protocol.toUpperCase()}`;
    if (index === 0) variables.set(`${prefix}_PORT`, url);
    variables.set(long, url);
    variables.set(`${long}_PROTO`, protocol);
    variables.set(`${long}_PORT`, String(port.port));
    variables.set(`${long}_ADDR`, clusterIp);
  }
}

function variableName(name: string): string {
  return name.replaceAll('-', '_').toUpperCase();
}
