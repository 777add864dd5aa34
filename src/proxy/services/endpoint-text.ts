/** `10.244.1.2:8080`, `[fd00::2]:8080`: how verdicts, names of chains and flows have an endpoint. */
export function endpointText(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
