/**
 * Kubernetes' own expansion in env values, command and args: `$(NAME)` is replaced where NAME is known and left
 * as it stands where it is not; `$$(NAME)` is a literal `$(NAME)`.
 */
export function expand(text: string, variables: ReadonlyMap<string, string>): string {
  return text.replace(/\$\$|\$\(([^()]*)\)/g, (match, name: string | undefined) => {
    if (match === '$$') return '$';
    return variables.get(name ?? '') ?? match;
  });
}
