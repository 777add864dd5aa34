import type { IpFamily } from '../../net/ip.ts';

/** `10.244.1.2:8080`, `[fd00::2]:8080`. */
export function endpointText(endpoint: { address: string; port: number }, family: IpFamily): string {
  return family === 6 ? `[${endpoint.address}]:${endpoint.port}` : `${endpoint.address}:${endpoint.port}`;
}
