/** What kind of address nothing but the node itself can be reached by; undefined for others. In canonical form. */
export function localKind(address: string): string | undefined {
  if (address === '0.0.0.0' || address === '::') return 'the unspecified address';
  if (address.startsWith('127.') || address === '::1' || address.startsWith('::ffff:127.')) {
    return 'a loopback address';
  }
  return undefined;
}

/**
 * What kind of address an external one or an endpoint's may not be, as it would lead to the node's own loopback or nowhere at
 * all; undefined for others. `address` is in canonical form. The API server refuses the same
 * (ValidateNonSpecialIP in pkg/apis/core/validation).
 */
export function specialKind(address: string): string | undefined {
  const local = localKind(address);
  if (local !== undefined) return local;
  // fe80::/10 reaches to febf.
  const isV6 = address.includes(':');
  if (isV6 ? /^fe[89ab].:/.test(address) : address.startsWith('169.254.')) return 'a link-local address';
  if (isV6 ? /^ff.2:/.test(address) : address.startsWith('224.0.0.')) return 'a link-local multicast address';
  return undefined;
}
