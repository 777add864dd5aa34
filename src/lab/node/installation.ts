import { realpathSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { FlatnetError } from '../../errors/flatnet-error.ts';

/** This program as it stands on the machine. */
export interface Installation {
  /** The Node.js executable. */
  readonly node: string;
  /** The folder of the package: `dist` and `node_modules`. */
  readonly package: string;
  /** Command line that starts it on a node or in a container. */
  readonly inside: readonly string[];
}

/**
 * Where nodes and containers find it. A place of its own: the machine may have it below a folder that nodes have one
 * of their own of (/tmp), that containers must not see (/home), or on another file system than the root.
 */
export const INSTALLED_NODE = '/opt/flatnet/node';
export const INSTALLED_PACKAGE = '/opt/flatnet/package';

/** Where a node has the command `flatnet`. */
export const INSTALLED_BIN = '/opt/flatnet/bin';

/** `command` is the Node.js executable, its options and the script, as for `spawn`. */
export function installationOf(command: readonly string[]): Installation {
  const [node, script] = [command[0], command.at(-1)];
  if (node === undefined || script === undefined || command.length < 2) {
    throw new FlatnetError('the lab does not know the program that it shall run on its nodes', {
      code: 'NO_PROGRAM',
    });
  }
  const file = realpathSync(script);
  const root = dirname(dirname(file));
  return {
    node: realpathSync(node),
    package: root,
    inside: [INSTALLED_NODE, ...command.slice(1, -1), join(INSTALLED_PACKAGE, relative(root, file))],
  };
}
