import type { ConfigMap, ServiceAccount } from 'kubernetes-types/core/v1.js';
import { hasStatus } from '../../cluster/api-error.ts';
import { CONFIG_MAPS, SERVICE_ACCOUNTS } from '../../cluster/resource-type.ts';
import type { ControllerContext } from './context.ts';
import { ObjectView } from './object-view.ts';

const ROOT_CA = 'kube-root-ca.crt';
const DEFAULT = 'default';

/** Gives every namespace its ServiceAccount `default` and the cluster's certificate authority. */
export function startNamespaceDefaults(context: ControllerContext, rootCertificate: string): void {
  const { views, client, signal, logger } = context;
  const accounts = new ObjectView<ServiceAccount>(client, SERVICE_ACCOUNTS, logger, {
    fieldSelector: `metadata.name=${DEFAULT}`,
  });
  const maps = new ObjectView<ConfigMap>(client, CONFIG_MAPS, logger, {
    fieldSelector: `metadata.name=${ROOT_CA}`,
  });
  context.follow(accounts.informer);
  context.follow(maps.informer);
  const queue = context.queue('namespace-defaults', async (namespace) => {
    const found = views.namespaces.get(namespace);
    if (found === undefined || found.metadata?.deletionTimestamp !== undefined) return;
    if (accounts.get(`${namespace}/${DEFAULT}`) === undefined) {
      await unlessThere(
        client.create(SERVICE_ACCOUNTS, { metadata: { name: DEFAULT, namespace } }, { signal }),
      );
    }
    const data = { 'ca.crt': rootCertificate };
    const map = maps.get(`${namespace}/${ROOT_CA}`);
    const ref = { name: ROOT_CA, namespace };
    if (map === undefined) await unlessThere(client.create(CONFIG_MAPS, { metadata: ref, data }, { signal }));
    else if (map.data?.['ca.crt'] !== rootCertificate) {
      await client.patch(CONFIG_MAPS, ref, { type: 'merge', body: { data } }, { signal });
    }
  });
  views.namespaces.onChange((now, before) => {
    if (now !== undefined && before === undefined) queue.add(now.metadata?.name ?? '');
  });
  accounts.onChange((now, before) => {
    if (now === undefined) queue.add(before?.metadata?.namespace ?? '');
  });
  maps.onChange((now, before) => queue.add((now ?? before)?.metadata?.namespace ?? ''));
}

/** Made by somebody else meanwhile, or the namespace is on its way out (403). */
async function unlessThere(creation: Promise<unknown>): Promise<void> {
  try {
    await creation;
  } catch (error) {
    if (!hasStatus(error, 409) && !hasStatus(error, 403) && !hasStatus(error, 404)) throw error;
  }
}
