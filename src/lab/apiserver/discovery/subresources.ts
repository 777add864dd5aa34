import type { ResourceDefinition } from '../kinds/resource-definition.ts';

export interface Subresource {
  readonly name: string;
  /** Where the body is another kind than the object itself. */
  readonly group?: string;
  readonly version?: string;
  readonly kind?: string;
  readonly verbs: readonly string[];
}

const CHANGES = ['get', 'patch', 'update'];

const OF_PODS: readonly Subresource[] = [
  { name: 'attach', kind: 'PodAttachOptions', verbs: ['create', 'get'] },
  { name: 'binding', kind: 'Binding', verbs: ['create'] },
  { name: 'eviction', group: 'policy', version: 'v1', kind: 'Eviction', verbs: ['create'] },
  { name: 'exec', kind: 'PodExecOptions', verbs: ['create', 'get'] },
  { name: 'log', verbs: ['get'] },
  { name: 'portforward', kind: 'PodPortForwardOptions', verbs: ['create', 'get'] },
];

const OF_KIND: Readonly<Record<string, readonly Subresource[]>> = {
  pods: OF_PODS,
  namespaces: [{ name: 'finalize', verbs: ['update'] }],
  serviceaccounts: [
    { name: 'token', group: 'authentication.k8s.io', version: 'v1', kind: 'TokenRequest', verbs: ['create'] },
  ],
};

export function subresourcesOf(definition: ResourceDefinition): Subresource[] {
  const own = definition.group === '' ? (OF_KIND[definition.resource] ?? []) : [];
  return [
    ...own,
    ...(definition.scale === undefined
      ? []
      : [{ name: 'scale', group: 'autoscaling', version: 'v1', kind: 'Scale', verbs: CHANGES }]),
    ...(definition.hasStatus ? [{ name: 'status', verbs: CHANGES }] : []),
  ];
}

/** Kinds that are questions: created, answered, never stored. */
export const VIRTUAL_KINDS = [
  {
    group: 'authentication.k8s.io',
    version: 'v1',
    kind: 'TokenReview',
    resource: 'tokenreviews',
    singular: 'tokenreview',
    namespaced: false,
  },
  {
    group: 'authentication.k8s.io',
    version: 'v1',
    kind: 'SelfSubjectReview',
    resource: 'selfsubjectreviews',
    singular: 'selfsubjectreview',
    namespaced: false,
  },
  ...(
    [
      ['SelfSubjectAccessReview', false],
      ['SelfSubjectRulesReview', false],
      ['SubjectAccessReview', false],
      ['LocalSubjectAccessReview', true],
    ] as const
  ).map(([kind, namespaced]) => ({
    group: 'authorization.k8s.io',
    version: 'v1',
    kind,
    resource: `${kind.toLowerCase()}s`,
    singular: kind.toLowerCase(),
    namespaced,
  })),
] as const;
