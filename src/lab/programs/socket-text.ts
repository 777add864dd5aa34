/** `10.0.0.1:80` or `[fd00::1]:80`; an IPv4 client of a dual-stack socket is shown as what it is. */
export function socketText(address: string | undefined, port: number | undefined): string {
  const plain = (address ?? '').replace(/^::ffff:(?=\d+\.)/i, '');
  return plain.includes(':') ? `[${plain}]:${port ?? 0}` : `${plain}:${port ?? 0}`;
}
