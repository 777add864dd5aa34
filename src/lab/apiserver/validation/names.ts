/** RFC 1123 label: at most 63 characters. */
const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
/** RFC 1123 subdomain: at most 253 characters. */
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
/** RFC 1035 label, which Service names must be. */
const DNS_1035_LABEL = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;
const QUALIFIED_PART = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const LABEL_VALUE = /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/;
/** IANA service name (RFC 6335), as named ports are. */
const PORT_NAME = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;

// The messages are those that users of kubectl know from kube-apiserver.
const LABEL_TEXT =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035_TEXT =
  "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const VALUE_TEXT =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_TEXT =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/** Why the text is not such a name; undefined when it is. */
export type NameRule = (text: string) => string | undefined;

function rule(pattern: RegExp, maxLength: number, text: string): NameRule {
  return (name) => {
    if (name.length > maxLength) return `must be no more than ${maxLength} characters`;
    return pattern.test(name) ? undefined : text;
  };
}

export const dnsLabel: NameRule = rule(DNS_LABEL, 63, LABEL_TEXT);
export const dnsSubdomain: NameRule = rule(DNS_SUBDOMAIN, 253, SUBDOMAIN_TEXT);
export const dns1035Label: NameRule = rule(DNS_1035_LABEL, 63, LABEL_1035_TEXT);
export const labelValue: NameRule = rule(LABEL_VALUE, 63, VALUE_TEXT);

/** A name that only has to be usable as a path segment (RBAC objects). */
export const pathSegment: NameRule = (name) => {
  if (name === '.' || name === '..') return `may not be '${name}'`;
  return /[/%]/.test(name) ? "may not contain '/' or '%'" : undefined;
};

/** `[prefix/]name`, as label keys, annotation keys and condition types are. */
export const qualifiedName: NameRule = (text) => {
  const slash = text.indexOf('/');
  const name = text.slice(slash + 1);
  if (slash >= 0) {
    const wrong = dnsSubdomain(text.slice(0, slash));
    if (wrong !== undefined) return `prefix part ${wrong}`;
  }
  if (name.length === 0) return 'name part must be non-empty';
  if (name.length > 63) return 'name part must be no more than 63 characters';
  return QUALIFIED_PART.test(name) ? undefined : QUALIFIED_TEXT;
};

/** The name of a port: at most 15 characters, at least one letter, no two hyphens in a row. */
export const portName: NameRule = (text) => {
  if (text.length > 15) return 'must be no more than 15 characters';
  if (!PORT_NAME.test(text)) {
    return 'must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)';
  }
  if (!/[a-z]/.test(text)) return 'must contain at least one letter (a-z)';
  return text.includes('--') ? 'must not contain consecutive hyphens' : undefined;
};
