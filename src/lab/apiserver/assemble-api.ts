import { Cidr } from '../../net/cidr.ts';
import { AdmissionChain } from './admission/admission-plugin.ts';
import { NamespaceLifecycle } from './admission/namespace-lifecycle.ts';
import { ServiceAccountAdmission } from './admission/service-account-admission.ts';
import { ServiceAllocator } from './admission/service-allocator.ts';
import { bootstrap } from './bootstrap.ts';
import type { ApiServerOptions } from './api-server.ts';
import type { ServiceAccountTokens } from './auth/service-account-tokens.ts';
import { CustomKinds } from './crd/custom-kinds.ts';
import { ApiDiscovery } from './discovery/api-discovery.ts';
import { ApiRouter } from './http/api-router.ts';
import { makeBuiltInKinds } from './kinds/built-in-kinds.ts';
import type { ResourceDefinition } from './kinds/resource-definition.ts';
import type { CertificateAuthority } from './pki/certificate-authority.ts';
import { OpenApi } from './openapi/open-api.ts';
import { KubeletProxy } from './proxy/kubelet-proxy.ts';
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
  readonly kubelets: KubeletProxy;
  readonly kubernetesServiceIps: readonly string[];
  readonly accountExists: (namespace: string, name: string, uid: string) => boolean;
  /** Makes what every cluster has from the start. */
  readonly bootstrap: (endpoint: { host: string; port: number }) => void;
}

/** Puts kinds, admission, handlers and router together. */
export function assembleApi(parts: Parts): Api {
  const ranges = parts.options.serviceCidrs.map((text) => Cidr.parseStrict(text));
  const serviceIps = ranges.map((range) => range.at(1).toString());
  const revisions = RevisionCounter.fromClock();
  const registry = new ResourceRegistry();
  for (const definition of makeBuiltInKinds(revisions)) registry.add(definition);
  const writer = new ObjectWriter(admissionOf(registry, revisions, ranges, parts.options));
  const kubelets = new KubeletProxy({
    pods: core(registry, 'pods').store,
    nodes: core(registry, 'nodes').store,
    client: parts.authority.issue({
      commonName: 'kube-apiserver-kubelet-client',
      organizations: ['system:masters'],
      usage: 'client',
    }),
    authority: parts.authority.certificate,
  });
  parts.signal.addEventListener('abort', () => kubelets.close(), { once: true });
  const router = new ApiRouter(
    registry,
    new ApiDiscovery(registry),
    new OpenApi(registry),
    new ResourceHandler(writer, parts.signal),
    new SubresourceHandler(registry, writer, parts.accounts, kubelets),
  );
  return {
    router,
    kubelets,
    kubernetesServiceIps: serviceIps,
    accountExists: (namespace, name, uid) => {
      const stored = core(registry, 'serviceaccounts').store.get(storageKey(namespace, name));
      return stored !== undefined && parseStored(stored).metadata.uid === uid;
    },
    bootstrap: (endpoint) =>
      bootstrap(registry, writer, { serviceIps, endpoint, authority: parts.authority.certificate }),
  };
}

const NODE_PORTS = [30_000, 32_767] as const;

function admissionOf(
  registry: ResourceRegistry,
  revisions: RevisionCounter,
  ranges: readonly Cidr[],
  options: ApiServerOptions,
): AdmissionChain {
  const definitions = builtIn(registry, 'apiextensions.k8s.io', 'customresourcedefinitions');
  return new AdmissionChain([
    new NamespaceLifecycle(core(registry, 'namespaces').store),
    new ServiceAccountAdmission(core(registry, 'serviceaccounts').store),
    new CustomKinds(registry, revisions, definitions.store),
    new ServiceAllocator(ranges, options.nodePorts ?? NODE_PORTS),
  ]);
}

function core(registry: ResourceRegistry, resource: string): ResourceDefinition {
  return builtIn(registry, '', resource);
}

function builtIn(registry: ResourceRegistry, group: string, resource: string): ResourceDefinition {
  const found = registry.find(group, 'v1', resource);
  if (found === undefined) throw new Error(`no built-in resource ${resource}`);
  return found;
}
