import { AdmissionChain } from './admission/admission-plugin.ts';
import type { ApiServerOptions } from './api-server.ts';
import type { ServiceAccountTokens } from './auth/service-account-tokens.ts';
import { ApiDiscovery } from './discovery/api-discovery.ts';
import { ApiRouter } from './http/api-router.ts';
import { makeBuiltInKinds } from './kinds/built-in-kinds.ts';
import type { ResourceDefinition } from './kinds/resource-definition.ts';
import type { CertificateAuthority } from './pki/certificate-authority.ts';
import { ObjectWriter } from './rest/object-writer.ts';
import { ResourceHandler } from './rest/resource-handler.ts';
import { ResourceRegistry } from './rest/resource-registry.ts';
import { SubresourceHandler } from './rest/subresource-handler.ts';
import { RevisionCounter } from './store/revision-counter.ts';
import { parseStored, storageKey } from './store/stored-object.ts';

interface Parts {
  readonly options: ApiServerOptions;
  readonly authority: CertificateAuthority;
  readonly accounts: ServiceAccountTokens;
  readonly signal: AbortSignal;
}

/** The server less its sockets. */
export interface Api {
  readonly router: ApiRouter;
  readonly kubernetesServiceIps: readonly string[];
  readonly accountExists: (namespace: string, name: string, uid: string) => boolean;
  /** Makes what every cluster has from the start. */
  readonly bootstrap: (endpoint: { host: string; port: number }) => void;
}

/** Puts kinds, admission, handlers and router together. */
export function assembleApi(parts: Parts): Api {
  const revisions = new RevisionCounter();
  const registry = new ResourceRegistry();
  for (const definition of makeBuiltInKinds(revisions)) registry.add(definition);
  const writer = new ObjectWriter(new AdmissionChain([]));
  const router = new ApiRouter(
    registry,
    new ApiDiscovery(registry),
    new ResourceHandler(writer, parts.signal),
    new SubresourceHandler(new Map()),
  );
  return {
    router,
    kubernetesServiceIps: [],
    accountExists: (namespace, name, uid) => {
      const stored = core(registry, 'serviceaccounts').store.get(storageKey(namespace, name));
      return stored !== undefined && parseStored(stored).metadata.uid === uid;
    },
    bootstrap: () => {
      for (const name of ['default', 'kube-system', 'kube-public', 'kube-node-lease']) {
        const definition = core(registry, 'namespaces');
        const user = { username: 'system:apiserver', groups: ['system:masters'] };
        writer.create(
          { definition, namespace: '', user, dryRun: false },
          { apiVersion: 'v1', kind: 'Namespace', metadata: { name } },
        );
      }
    },
  };
}

function core(registry: ResourceRegistry, resource: string): ResourceDefinition {
  const found = registry.find('', 'v1', resource);
  if (found === undefined) throw new Error(`no built-in resource ${resource}`);
  return found;
}
