// The only program this room runs; the wrapper of the kernel room may not be imported here, and a credential
// plugin wants to speak to the user on the terminal besides.
import { execFile } from 'node:child_process';
import { isAbsolute, resolve } from 'node:path';
import { promisify } from 'node:util';
import * as z from 'zod';
import { FlatnetError } from '../errors/flatnet-error.ts';
import type { Credentials } from './access.ts';

const API_VERSIONS = ['client.authentication.k8s.io/v1', 'client.authentication.k8s.io/v1beta1'] as const;

export const ExecConfig = z.object({
  apiVersion: z.enum(API_VERSIONS),
  command: z.string().min(1),
  args: z.array(z.string()).nullish(),
  env: z.array(z.object({ name: z.string(), value: z.string() })).nullish(),
  installHint: z.string().optional(),
  provideClusterInfo: z.boolean().optional(),
});
export type ExecConfig = z.infer<typeof ExecConfig>;

/** What the plugin is told of the cluster when `provideClusterInfo` is set. */
export interface ExecCluster {
  readonly server: string;
  readonly 'certificate-authority-data'?: string;
  readonly 'insecure-skip-tls-verify'?: boolean;
  readonly 'tls-server-name'?: string;
}

const ExecCredential = z.object({
  kind: z.literal('ExecCredential'),
  status: z.object({
    expirationTimestamp: z.string().optional(),
    token: z.string().optional(),
    clientCertificateData: z.string().optional(),
    clientKeyData: z.string().optional(),
  }),
});

const PLUGIN_TIMEOUT_MS = 60_000;
const run = promisify(execFile);

/** Credentials from a client-go credential plugin, kept until they expire or the server refuses them. */
export class ExecCredentials {
  readonly #config: ExecConfig;
  readonly #folder: string;
  readonly #cluster: ExecCluster;
  #pending: Promise<{ readonly credentials: Credentials; readonly expires: number }> | undefined;

  /** `folder` is that of the kubeconfig: a command with a slash is relative to it. */
  constructor(config: ExecConfig, folder: string, cluster: ExecCluster) {
    this.#config = config;
    this.#folder = folder;
    this.#cluster = cluster;
  }

  async get(refresh: boolean): Promise<Credentials> {
    const known = await this.#pending?.catch(() => undefined);
    if (known !== undefined && !refresh && Date.now() < known.expires) return known.credentials;
    // Callers that come meanwhile share one run of the plugin.
    const pending = this.#ask();
    this.#pending = pending;
    return (await pending).credentials;
  }

  async #ask(): Promise<{ credentials: Credentials; expires: number }> {
    const { command, args, env, apiVersion, provideClusterInfo, installHint } = this.#config;
    const info = {
      apiVersion,
      kind: 'ExecCredential',
      spec: { interactive: false, ...(provideClusterInfo === true ? { cluster: this.#cluster } : {}) },
    };
    const path = command.includes('/') && !isAbsolute(command) ? resolve(this.#folder, command) : command;
    let stdout: string;
    try {
      ({ stdout } = await run(path, args ?? [], {
        timeout: PLUGIN_TIMEOUT_MS,
        env: {
          ...process.env,
          ...Object.fromEntries((env ?? []).map(({ name, value }) => [name, value])),
          KUBERNETES_EXEC_INFO: JSON.stringify(info),
        },
      }));
    } catch (error) {
      const { message, stderr } = error as Error & { stderr?: string };
      throw new FlatnetError(`credential plugin ${command} failed: ${message} ${stderr ?? ''}`.trim(), {
        code: 'EXEC_PLUGIN',
        retryable: true,
        ...(installHint === undefined ? {} : { hint: installHint.trim() }),
        cause: error,
      });
    }
    return parseCredential(command, stdout);
  }
}

function parseCredential(command: string, stdout: string): { credentials: Credentials; expires: number } {
  try {
    const { status } = ExecCredential.parse(JSON.parse(stdout));
    return {
      credentials: {
        authorization: status.token === undefined ? undefined : `Bearer ${status.token}`,
        certificate: status.clientCertificateData,
        key: status.clientKeyData,
      },
      expires: status.expirationTimestamp === undefined ? Infinity : Date.parse(status.expirationTimestamp),
    };
  } catch (error) {
    throw new FlatnetError(`credential plugin ${command} printed no valid ExecCredential`, {
      code: 'EXEC_PLUGIN',
      cause: error,
    });
  }
}
