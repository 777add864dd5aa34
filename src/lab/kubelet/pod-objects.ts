import type { ConfigMap, Secret } from 'kubernetes-types/core/v1.js';
import type { ApiClient } from '../../cluster/api-client.ts';
import { hasStatus } from '../../cluster/api-error.ts';
import type { KubeObject } from '../../cluster/kube-object.ts';
import { CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS } from '../../cluster/resource-type.ts';
import { FlatnetError } from '../../errors/flatnet-error.ts';

/** Values of a ConfigMap or a Secret by key. */
export type KeyedData = ReadonlyMap<string, Buffer>;

interface TokenRequest extends KubeObject {
  spec?: { audiences?: string[]; expirationSeconds?: number; boundObjectRef?: object };
  status?: { token?: string };
}

/** Reads what pods refer to: ConfigMaps, Secrets, tokens of service accounts. */
export class PodObjects {
  readonly #client: ApiClient;
  readonly certificateAuthority: string;

  constructor(client: ApiClient, certificateAuthority: string) {
    this.#client = client;
    this.certificateAuthority = certificateAuthority;
  }

  /** Undefined where it does not exist and `optional` is set. Throws CONFIG_MISSING. */
  async configMap(namespace: string, name: string, optional: boolean): Promise<KeyedData | undefined> {
    const object = await this.#get<ConfigMap>(CONFIG_MAPS, namespace, name, optional);
    if (object === undefined) return undefined;
    const data = new Map<string, Buffer>();
    for (const [key, value] of Object.entries(object.data ?? {})) data.set(key, Buffer.from(value));
    for (const [key, value] of Object.entries(object.binaryData ?? {})) {
      data.set(key, Buffer.from(value, 'base64'));
    }
    return data;
  }

  /** As `configMap`. */
  async secret(namespace: string, name: string, optional: boolean): Promise<KeyedData | undefined> {
    const object = await this.#get<Secret>(SECRETS, namespace, name, optional);
    if (object === undefined) return undefined;
    return new Map(
      Object.entries(object.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64')] as const),
    );
  }

  /** A token for the pod's service account, bound to the pod. */
  async token(
    namespace: string,
    account: string,
    pod: { readonly name: string; readonly uid: string },
    options: { readonly audience?: string | undefined; readonly expirationSeconds?: number | undefined },
  ): Promise<string> {
    const request: TokenRequest = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: {
        audiences: options.audience === undefined ? [] : [options.audience],
        expirationSeconds: options.expirationSeconds ?? 3607,
        boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: pod.name, uid: pod.uid },
      },
    };
    const answer = await this.#client.createSubresource<TokenRequest>(
      SERVICE_ACCOUNTS,
      { namespace, name: account },
      'token',
      request,
    );
    return answer.status?.token ?? '';
  }

  async #get<T extends KubeObject>(
    type: typeof CONFIG_MAPS | typeof SECRETS,
    namespace: string,
    name: string,
    optional: boolean,
  ): Promise<T | undefined> {
    try {
      return (await this.#client.get<KubeObject>(type, { namespace, name })) as T;
    } catch (error) {
      if (!hasStatus(error, 404)) throw error;
      if (optional) return undefined;
      throw new FlatnetError(`${type.kind.toLowerCase()} "${name}" not found`, {
        code: 'CONFIG_MISSING',
        retryable: true,
        cause: error,
      });
    }
  }
}
