import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { ANNOTATION_PREFIX, type Annotations } from './annotations.ts';
import { OWN_PREFIX } from './own-annotations.ts';

/**
 * What flannel makes of its flag --kube-annotation-prefix: a domain gets a slash, a domain with a path a dash behind
 * it. Throws INVALID_ANNOTATION_PREFIX.
 */
export function completePrefix(text: string): string {
  const slashes = text.split('/').length - 1;
  const complete = slashes === 0 ? `${text}/` : text.endsWith('/') ? text : `${text}-`;
  if (slashes <= 1 && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?\/[-A-Za-z0-9_.]*$/.test(complete)) return complete;
  throw new FlatnetError(
    `kubeAnnotationPrefix: ${JSON.stringify(text)} cannot begin the name of an annotation`,
    {
      code: 'INVALID_ANNOTATION_PREFIX',
      hint: 'write it like flannel.alpha.coreos.com or example.com/flannel',
    },
  );
}

/** Those that the pod network reads, named as with flannel's default prefix. */
export function withDefaultPrefix(annotations: Annotations, prefix: string): Annotations {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(annotations)) {
    if (name.startsWith(prefix)) kept[ANNOTATION_PREFIX + name.slice(prefix.length)] = value;
    else if (name.startsWith(OWN_PREFIX)) kept[name] = value;
  }
  return kept;
}

/** The name that an annotation of the default prefix has under this one. */
export function underPrefix(name: string, prefix: string): string {
  return name.startsWith(ANNOTATION_PREFIX) ? prefix + name.slice(ANNOTATION_PREFIX.length) : name;
}
