import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { checkLabName } from './lab-name.ts';

/** Every file of the lab that is outside of its nodes stands below `root`; `down` removes that folder. */
export interface LabFolder {
  readonly name: string;
  readonly root: string;
  readonly kubeconfig: string;
  /** What the lab is: options, process ids. Written while it is brought up, read by every command. */
  readonly record: string;
  /** Held while the lab is brought up or taken down. */
  readonly lock: string;
  readonly daemonLog: string;
  readonly images: string;
  nodeFolder(node: string): string;
  agentLog(node: string): string;
}

/** Where all labs stand: FLATNET_STATE_DIR, else `/var/lib/flatnet`. */
export function stateDirectory(): string {
  const own = process.env['FLATNET_STATE_DIR'];
  return own === undefined || own === '' ? '/var/lib/flatnet' : own;
}

export function labFolder(name: string): LabFolder {
  const root = join(stateDirectory(), 'labs', checkLabName(name));
  return {
    name,
    root,
    kubeconfig: join(root, 'kubeconfig'),
    record: join(root, 'lab.json'),
    lock: join(stateDirectory(), 'labs', `.${name}.lock`),
    daemonLog: join(root, 'daemon.log'),
    images: join(root, 'images'),
    nodeFolder: (node) => join(root, 'nodes', node),
    agentLog: (node) => join(root, 'nodes', node, 'agent.log'),
  };
}

/** Names of labs that have left a folder, running or not. */
export function listLabs(): string[] {
  const labs = join(stateDirectory(), 'labs');
  if (!existsSync(labs)) return [];
  return readdirSync(labs, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
}
