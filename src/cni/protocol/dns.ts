/** What a result says of name resolution, in the words of resolv.conf(5). */
export interface Dns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** Reads a resolv.conf as host-local's `resolvConf` does: the last of each keyword that has one value wins. */
export function parseResolvConf(text: string): Dns {
  const nameservers: string[] = [];
  const options: string[] = [];
  let search: readonly string[] = [];
  let domain: string | undefined;
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/);
    if (values.length === 0) continue;
    if (keyword === 'nameserver') nameservers.push(values[0] ?? '');
    else if (keyword === 'domain') domain = values[0];
    else if (keyword === 'search') search = values;
    else if (keyword === 'options') options.push(...values);
  }
  return {
    ...(nameservers.length === 0 ? {} : { nameservers }),
    ...(domain === undefined ? {} : { domain }),
    ...(search.length === 0 ? {} : { search }),
    ...(options.length === 0 ? {} : { options }),
  };
}
