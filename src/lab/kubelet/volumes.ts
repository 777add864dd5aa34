import { chmodSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import type {
  Container,
  DownwardAPIVolumeFile,
  HostPathVolumeSource,
  KeyToPath,
  Pod,
  Volume,
  VolumeProjection,
} from 'kubernetes-types/core/v1.js';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { LabNode } from '../node/lab-node.ts';
import type { BindMount } from './container-process.ts';
import { expand } from './expansion.ts';
import { resolveInRoot } from './path-in-root.ts';
import { writePayload, type PayloadFile } from './payload.ts';
import { fieldValue, type PodFacts } from './pod-facts.ts';
import type { KeyedData, PodObjects } from './pod-objects.ts';

/** Where containers find the token of their service account. */
const TOKEN_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';
const DEFAULT_MODE = 0o644;

/** The volumes of one pod on its node. */
export class PodVolumes {
  readonly #node: LabNode;
  readonly #objects: PodObjects;
  readonly #pod: Pod;
  /** By audience: asked anew when four fifths of the time have passed, as the kubelet does. */
  readonly #tokens = new Map<string, { readonly token: string; readonly renewAt: number }>();

  constructor(node: LabNode, objects: PodObjects, pod: Pod) {
    this.#node = node;
    this.#objects = objects;
    this.#pod = pod;
  }

  /** Folder of the pod's files, inside of the node. */
  get folder(): string {
    return `/var/lib/kubelet/pods/${this.#pod.metadata?.uid ?? ''}`;
  }

  /** Makes or refreshes every volume. Throws CONFIG_MISSING, VOLUME_UNSUPPORTED naming the volume. */
  async prepare(facts: PodFacts): Promise<void> {
    for (const volume of this.#volumes()) {
      try {
        await this.#prepareOne(volume, facts);
      } catch (cause) {
        const why = cause instanceof Error ? cause.message : String(cause);
        const code = cause instanceof FlatnetError ? cause.code : 'VOLUME_FAILED';
        throw new FlatnetError(`MountVolume.SetUp failed for volume "${volume.name}": ${why}`, {
          code,
          cause,
        });
      }
    }
  }

  /** What a container of the pod mounts. */
  mounts(container: Container, variables: ReadonlyMap<string, string>): BindMount[] {
    const volumes = this.#volumes();
    const mounts = (container.volumeMounts ?? []).flatMap((mount) => {
      const volume = volumes.find(({ name }) => name === mount.name);
      if (volume === undefined) return [];
      const subPath =
        mount.subPathExpr === undefined ? (mount.subPath ?? '') : expand(mount.subPathExpr, variables);
      return [
        {
          source: this.#sourceOf(volume, subPath),
          destination: posix.join('/', mount.mountPath),
          readOnly: mount.readOnly === true || isReadOnly(volume),
        },
      ];
    });
    if (this.#ownToken() && !mounts.some(({ destination }) => destination === TOKEN_FOLDER)) {
      mounts.push({ source: this.#folderOf(TOKEN_VOLUME), destination: TOKEN_FOLDER, readOnly: true });
    }
    return mounts;
  }

  #sourceOf(volume: Volume, subPath: string): string {
    const root = this.#node.path('/');
    const base =
      volume.hostPath === undefined ? this.#folderOf(volume) : resolveInRoot(root, volume.hostPath.path);
    if (subPath === '') return base;
    const source = resolveInRoot(root, posix.join(base, subPath));
    if (source !== base && !source.startsWith(`${base}/`)) {
      throw new FlatnetError(`subPath "${subPath}" leads out of volume "${volume.name}"`, {
        code: 'INVALID_SUBPATH',
      });
    }
    // As open as the volume itself: containers need not run as root.
    if (volume.emptyDir !== undefined) ensureFolder(join(root, source), 0o777);
    else if (volume.hostPath !== undefined) ensureFolder(join(root, source));
    return source;
  }

  /** The API server's admission adds the token's volume; where it did not, the pod gets the same from here. */
  #ownToken(): boolean {
    const spec = this.#pod.spec;
    const mounted = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])].some((container) =>
      (container.volumeMounts ?? []).some(({ mountPath }) => mountPath === TOKEN_FOLDER),
    );
    return !mounted && spec?.automountServiceAccountToken !== false;
  }

  #volumes(): Volume[] {
    return [...(this.#pod.spec?.volumes ?? []), ...(this.#ownToken() ? [TOKEN_VOLUME] : [])];
  }

  #folderOf(volume: Volume): string {
    const kind = Object.keys(volume).find((field) => field !== 'name') ?? 'empty-dir';
    const plugin = kind.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    return `${this.folder}/volumes/kubernetes.io~${plugin}/${volume.name}`;
  }

  async #prepareOne(volume: Volume, facts: PodFacts): Promise<void> {
    const folder = this.#node.path(this.#folderOf(volume));
    if (volume.emptyDir !== undefined) {
      mkdirSync(folder, { recursive: true });
      chmodSync(folder, 0o777);
    } else if (volume.hostPath !== undefined) {
      prepareHostPath(this.#node.path('/'), volume.hostPath);
    } else {
      writePayload(folder, await this.#payload(volume, facts));
    }
  }

  async #payload(volume: Volume, facts: PodFacts): Promise<Map<string, PayloadFile>> {
    const { configMap, secret, downwardAPI, projected } = volume;
    if (configMap !== undefined) {
      return this.#project([{ configMap }], configMap.defaultMode ?? DEFAULT_MODE, facts);
    }
    if (secret !== undefined) {
      const { secretName, items, optional, defaultMode } = secret;
      const source = { name: secretName ?? '', ...(items && { items }), ...(optional && { optional }) };
      return this.#project([{ secret: source }], defaultMode ?? DEFAULT_MODE, facts);
    }
    if (downwardAPI !== undefined) {
      return this.#project([{ downwardAPI }], downwardAPI.defaultMode ?? DEFAULT_MODE, facts);
    }
    if (projected !== undefined) {
      return this.#project(projected.sources ?? [], projected.defaultMode ?? DEFAULT_MODE, facts);
    }
    throw new FlatnetError('the lab has no volumes of this kind', {
      code: 'VOLUME_UNSUPPORTED',
      hint: 'use emptyDir, configMap, secret, downwardAPI, projected or hostPath',
    });
  }

  async #project(
    sources: readonly VolumeProjection[],
    mode: number,
    facts: PodFacts,
  ): Promise<Map<string, PayloadFile>> {
    const files = new Map<string, PayloadFile>();
    for (const source of sources) await this.#addSource(files, source, mode, facts);
    return files;
  }

  async #addSource(
    files: Map<string, PayloadFile>,
    source: VolumeProjection,
    mode: number,
    facts: PodFacts,
  ): Promise<void> {
    const namespace = this.#pod.metadata?.namespace ?? 'default';
    const { configMap, secret, downwardAPI, serviceAccountToken } = source;
    if (configMap !== undefined) {
      const optional = configMap.optional === true || this.#isRootCertificate(configMap.name);
      const data = await this.#objects.configMap(namespace, configMap.name ?? '', optional);
      // The embedded control plane may have no publisher of this ConfigMap; its content is known here as well.
      const own = this.#isRootCertificate(configMap.name) ? this.#rootCertificate() : undefined;
      addKeys(files, data ?? own, configMap.items, mode, configMap.name ?? '');
    }
    if (secret !== undefined) {
      const data = await this.#objects.secret(namespace, secret.name ?? '', secret.optional === true);
      addKeys(files, data, secret.items, mode, secret.name ?? '');
    }
    for (const item of downwardAPI?.items ?? []) addField(files, item, mode, facts);
    if (serviceAccountToken !== undefined) {
      const { audience, expirationSeconds, path } = serviceAccountToken;
      const token = await this.#token(audience, expirationSeconds ?? 3607);
      files.set(safePath(path), { content: Buffer.from(token), mode });
    }
  }

  async #token(audience: string | undefined, expirationSeconds: number): Promise<string> {
    const known = this.#tokens.get(audience ?? '');
    if (known !== undefined && Date.now() < known.renewAt) return known.token;
    const account = this.#pod.spec?.serviceAccountName ?? 'default';
    const { name = '', uid = '', namespace = 'default' } = this.#pod.metadata ?? {};
    const pod = { name, uid };
    const token = await this.#objects.token(namespace, account, pod, { audience, expirationSeconds });
    this.#tokens.set(audience ?? '', { token, renewAt: Date.now() + expirationSeconds * 800 });
    return token;
  }

  #isRootCertificate(name: string | undefined): boolean {
    return name === 'kube-root-ca.crt';
  }

  #rootCertificate(): KeyedData {
    return new Map([['ca.crt', Buffer.from(this.#objects.certificateAuthority)]]);
  }
}

const TOKEN_VOLUME: Volume = {
  name: 'kube-api-access',
  projected: {
    sources: [
      { serviceAccountToken: { path: 'token', expirationSeconds: 3607 } },
      { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
      { downwardAPI: { items: [{ path: 'namespace', fieldRef: { fieldPath: 'metadata.namespace' } }] } },
    ],
  },
};

function addKeys(
  files: Map<string, PayloadFile>,
  data: KeyedData | undefined,
  items: readonly KeyToPath[] | undefined,
  mode: number,
  name: string,
): void {
  if (data === undefined) return;
  if (items === undefined) {
    for (const [key, content] of data) files.set(safePath(key), { content, mode });
    return;
  }
  for (const item of items) {
    const content = data.get(item.key);
    if (content === undefined) {
      throw new FlatnetError(`"${name}" has no key ${item.key}`, { code: 'CONFIG_MISSING', retryable: true });
    }
    files.set(safePath(item.path), { content, mode: item.mode ?? mode });
  }
}

function addField(
  files: Map<string, PayloadFile>,
  item: DownwardAPIVolumeFile,
  mode: number,
  facts: PodFacts,
): void {
  if (item.fieldRef === undefined) return;
  files.set(safePath(item.path), {
    content: Buffer.from(fieldValue(item.fieldRef, facts)),
    mode: item.mode ?? mode,
  });
}

/** Keys and item paths become file names: none may lead out of the volume. */
function safePath(path: string): string {
  if (path !== '' && !path.startsWith('/') && !path.split('/').some((part) => part.startsWith('..')))
    return path;
  throw new FlatnetError(`"${path}" is not a path below a volume`, { code: 'INVALID_VOLUME_PATH' });
}

function isReadOnly(volume: Volume): boolean {
  return volume.emptyDir === undefined && volume.hostPath === undefined;
}

function prepareHostPath(root: string, source: HostPathVolumeSource): void {
  const path = join(root, resolveInRoot(root, source.path));
  switch (source.type) {
    case 'Directory':
    case 'File':
      statSync(path);
      break;
    case 'FileOrCreate':
      writeFileSync(path, '', { flag: 'a' });
      break;
    case 'DirectoryOrCreate':
    case '':
    case undefined:
      ensureFolder(path);
      break;
    default:
      statSync(path);
  }
}

/** A folder, unless something is there already. */
function ensureFolder(path: string, mode = 0o755): void {
  if (statSync(path, { throwIfNoEntry: false }) !== undefined) return;
  mkdirSync(path, { recursive: true });
  chmodSync(path, mode);
}
