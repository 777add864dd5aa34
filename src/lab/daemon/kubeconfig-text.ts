import { stringify } from 'yaml';

export interface KubeconfigFacts {
  /** Name of cluster, user and context. */
  readonly name: string;
  readonly server: string;
  /** PEM. */
  readonly certificateAuthority: string;
  readonly certificate: string;
  readonly key: string;
}

/** Text of a kubeconfig that holds everything, so that it can be moved and mounted. */
export function kubeconfigText(facts: KubeconfigFacts): string {
  const { name } = facts;
  return stringify(
    {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        {
          name,
          cluster: { server: facts.server, 'certificate-authority-data': base64(facts.certificateAuthority) },
        },
      ],
      users: [
        {
          name,
          user: {
            'client-certificate-data': base64(facts.certificate),
            'client-key-data': base64(facts.key),
          },
        },
      ],
      contexts: [{ name, context: { cluster: name, user: name } }],
      'current-context': name,
    },
    { lineWidth: 0 },
  );
}

function base64(pem: string): string {
  return Buffer.from(pem).toString('base64');
}
