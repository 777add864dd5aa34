import type { ServiceAccountTokens } from '../auth/service-account-tokens.ts';
import { requestToken, reviewAccess, reviewRules, reviewSelf, reviewToken } from '../auth/reviews.ts';
import type { Call } from '../http/call.ts';
import { methodNotAllowed, noSuchPath } from '../json/status-error.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import type { KubeletProxy } from '../proxy/kubelet-proxy.ts';
import { finalizeNamespace } from './namespace-finalize.ts';
import type { ObjectWriter } from './object-writer.ts';
import { bindPod, evictPod } from './pod-actions.ts';
import type { ResourcePath } from './request-info.ts';
import type { ResourceRegistry } from './resource-registry.ts';
import { handleScale } from './scale-subresource.ts';

/** Subresources other than status, and kinds that are only questions. */
export class SubresourceHandler {
  readonly #registry: ResourceRegistry;
  readonly #writer: ObjectWriter;
  readonly #tokens: ServiceAccountTokens;
  readonly #kubelets: KubeletProxy;

  constructor(
    registry: ResourceRegistry,
    writer: ObjectWriter,
    tokens: ServiceAccountTokens,
    kubelets: KubeletProxy,
  ) {
    this.#registry = registry;
    this.#writer = writer;
    this.#tokens = tokens;
    this.#kubelets = kubelets;
  }

  /** False where nobody here answers such a request. */
  async handle(call: Call, path: ResourcePath): Promise<boolean> {
    if (path.subresource === undefined) return this.#handleVirtual(call, path);
    const definition = this.#registry.find(path.group, path.version, path.resource);
    if (definition === undefined) throw noSuchPath();
    if (path.subresource === 'scale' && definition.scale !== undefined) {
      await handleScale(call, definition, path, this.#writer);
      return true;
    }
    return definition.group === '' ? this.#handleCore(call, definition, path) : false;
  }

  async #handleCore(call: Call, definition: ResourceDefinition, path: ResourcePath): Promise<boolean> {
    switch (`${path.resource}/${path.subresource ?? ''}`) {
      case 'pods/binding':
        await bindPod(call, definition, path, this.#writer);
        return true;
      case 'pods/eviction':
        await evictPod(call, definition, path, this.#writer);
        return true;
      case 'pods/log':
        if (call.method !== 'GET') throw methodNotAllowed();
        await this.#kubelets.log(call, path);
        return true;
      case 'namespaces/finalize':
        await finalizeNamespace(call, definition, path, this.#writer);
        return true;
      case 'serviceaccounts/token':
        if (call.method !== 'POST') throw methodNotAllowed();
        await requestToken(call, definition, path, this.#tokens);
        return true;
      default:
        return false;
    }
  }

  async #handleVirtual(call: Call, path: ResourcePath): Promise<boolean> {
    if (path.name !== undefined) return false;
    const question = this.#question(path);
    if (question === undefined) return false;
    if (call.method !== 'POST') throw methodNotAllowed();
    await question(call);
    return true;
  }

  #question(path: ResourcePath): ((call: Call) => Promise<void>) | undefined {
    switch (`${path.group}/${path.resource}`) {
      case 'authorization.k8s.io/selfsubjectaccessreviews':
      case 'authorization.k8s.io/subjectaccessreviews':
      case 'authorization.k8s.io/localsubjectaccessreviews':
        return reviewAccess;
      case 'authorization.k8s.io/selfsubjectrulesreviews':
        return reviewRules;
      case 'authentication.k8s.io/selfsubjectreviews':
        return reviewSelf;
      case 'authentication.k8s.io/tokenreviews':
        return (call) => reviewToken(call, this.#tokens);
      case '/bindings':
        return (call) => bindPod(call, this.#pods(), path, this.#writer);
      default:
        return undefined;
    }
  }

  #pods(): ResourceDefinition {
    const pods = this.#registry.find('', 'v1', 'pods');
    if (pods === undefined) throw noSuchPath();
    return pods;
  }
}
