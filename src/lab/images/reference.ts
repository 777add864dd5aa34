/** The repository of an image reference without tag and digest: `docker.io/library/busybox:1.36` is `busybox`. */
export function repositoryOf(reference: string): string {
  const withoutDigest = reference.split('@')[0] ?? '';
  const lastSlash = withoutDigest.lastIndexOf('/');
  const colon = withoutDigest.indexOf(':', lastSlash + 1);
  const path = colon < 0 ? withoutDigest : withoutDigest.slice(0, colon);
  return withoutRegistry(path).replace(/^library\//, '');
}

/** The first part is a registry when it holds a dot or a port, or is localhost (distribution/reference). */
function withoutRegistry(path: string): string {
  const slash = path.indexOf('/');
  const first = slash < 0 ? '' : path.slice(0, slash);
  return /[.:]/.test(first) || first === 'localhost' ? path.slice(slash + 1) : path;
}
