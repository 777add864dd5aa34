import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ApiServer } from './api-server.ts';

// For the tests that drive the server with kubectl.

const FOLDERS = ['/usr/lib/google-cloud-sdk/bin', '/usr/local/bin', '/usr/bin'];
/** Oldest, newest, and one between that speaks WebSocket already. */
const VERSIONS = ['1.27', '1.30', '1.33'];

export interface InstalledKubectl {
  readonly version: string;
  readonly file: string;
}

/** The versions that stand side by side as kubectl.1.NN; else the one on PATH; else none. */
export function installedKubectls(): InstalledKubectl[] {
  const path = (process.env['PATH'] ?? '').split(':').filter((folder) => folder !== '');
  const find = (name: string): string | undefined =>
    [...FOLDERS, ...path].map((folder) => join(folder, name)).find((file) => existsSync(file));
  const versioned = VERSIONS.flatMap((version) => {
    const file = find(`kubectl.${version}`);
    return file === undefined ? [] : [{ version, file }];
  });
  const plain = find('kubectl');
  return versioned.length > 0 || plain === undefined ? versioned : [{ version: 'installed', file: plain }];
}

/** A kubeconfig for a server of this process; `user` as in users[].user. */
export function kubeconfigText(server: ApiServer, user: Record<string, string>): string {
  const cluster = {
    server: `https://127.0.0.1:${server.addresses[0]?.port ?? 0}`,
    'certificate-authority-data': Buffer.from(server.authority.certificate).toString('base64'),
  };
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  });
}
