/** The form in which the client wants objects. */
export interface Rendering {
  readonly as: 'object' | 'table' | 'partial';
  /** meta.k8s.io version of Table or PartialObjectMetadata. */
  readonly version: 'v1' | 'v1beta1';
}

const PLAIN: Rendering = { as: 'object', version: 'v1' };

/** The first form of the Accept header that the server has; undefined where it has none of them. */
export function negotiate(accept: string | undefined): Rendering | undefined {
  if (accept === undefined || accept === '') return PLAIN;
  for (const entry of accept.split(',')) {
    const [type = '', ...parameters] = entry.split(';').map((part) => part.trim());
    if (type !== 'application/json' && type !== '*/*' && type !== 'application/*') continue;
    const values = new Map(
      parameters.map((one) => [one.slice(0, one.indexOf('=')), one.slice(one.indexOf('=') + 1)]),
    );
    const form = values.get('as');
    if (form === undefined) return PLAIN;
    const version = values.get('v');
    if (values.get('g') !== 'meta.k8s.io' || (version !== 'v1' && version !== 'v1beta1')) continue;
    if (form === 'Table') return { as: 'table', version };
    if (form === 'PartialObjectMetadata' || form === 'PartialObjectMetadataList')
      return { as: 'partial', version };
  }
  return undefined;
}
