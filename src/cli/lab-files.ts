import { createReadStream, readFileSync, statSync, watchFile } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { Argument, Command } from 'commander';
import { FlatnetError } from '../errors/flatnet-error.ts';
import { labFolder, listLabs } from '../lab/state/lab-folder.ts';
import { readLabRecord } from '../lab/state/lab-record.ts';
import { labNotFound, nameOption, runningLab } from './lab-name-option.ts';

const FOLLOW_MS = 200;

export function logsCommand(): Command {
  return new Command('logs')
    .summary("what a node's agent, or its kubelet, says")
    .description(
      "Prints the log of a node's agent; with kubelet that of the node's kubelet; with daemon, instead of a node, that of " +
        'the control plane and everything else. One JSON object a line.',
    )
    .addOption(nameOption())
    .argument('<node>', 'node-1, node-2, … or daemon')
    .addArgument(new Argument('[which]', 'whose log').choices(['agent', 'kubelet']).default('agent'))
    .option('-f, --follow', 'go on with what is written from now on')
    .addHelpText(
      'after',
      '\nExamples:\n  flatnet lab logs node-1\n  flatnet lab logs node-1 kubelet\n  flatnet lab logs daemon --follow',
    )
    .action(logs);
}

export function kubeconfigCommand(): Command {
  return new Command('kubeconfig')
    .summary('how kubectl reaches a lab')
    .description("Prints the lab's kubeconfig. Nothing is ever written to ~/.kube.")
    .addOption(nameOption())
    .option('--path', 'print where the file is instead')
    .addHelpText('after', '\nExample:\n  export KUBECONFIG=$(flatnet lab kubeconfig --path)')
    .action(kubeconfig);
}

function kubeconfig(flags: { readonly name: string; readonly path?: boolean }): void {
  runningLab(flags.name);
  const file = labFolder(flags.name).kubeconfig;
  process.stdout.write(flags.path === true ? `${file}\n` : readFileSync(file, 'utf8'));
}

async function logs(
  node: string,
  which: string,
  flags: { readonly name: string; readonly follow?: boolean },
): Promise<void> {
  if (!listLabs().includes(flags.name)) throw labNotFound(flags.name);
  const folder = labFolder(flags.name);
  // Of a lab that crashed, too: that is when logs are wanted.
  const nodes = readLabRecord(flags.name)?.nodes.map(({ name }) => name) ?? [];
  if (node !== 'daemon' && !nodes.includes(node)) {
    throw new FlatnetError(`lab "${flags.name}" has no node "${node}"`, {
      code: 'NODE_NOT_FOUND',
      hint: `there are: ${[...nodes, 'daemon'].join(', ')}`,
    });
  }
  const ofKubelet = node !== 'daemon' && which === 'kubelet';
  const file = node === 'daemon' || ofKubelet ? folder.daemonLog : folder.agentLog(node);
  // All kubelets write to the daemon's log; each line names its node.
  const keep = ofKubelet ? (line: string) => line.includes(`"node":"${node}"`) : () => true;
  let offset = await copy(file, 0, keep);
  if (flags.follow !== true) return;
  watchFile(file, { interval: FOLLOW_MS }, () => {
    void copy(file, offset, keep).then((end) => (offset = end));
  });
}

/** Prints the complete lines from `offset` on; returns where the rest begins. */
async function copy(file: string, offset: number, keep: (line: string) => boolean): Promise<number> {
  if (statSync(file, { throwIfNoEntry: false }) === undefined) return 0;
  let end = offset;
  let rest = Buffer.alloc(0);
  await pipeline(
    createReadStream(file, { start: offset }),
    async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        const data = Buffer.concat([rest, chunk]);
        const complete = data.lastIndexOf(0x0a) + 1;
        rest = data.subarray(complete);
        end += complete;
        const lines = data.subarray(0, complete).toString().split('\n').slice(0, -1);
        yield lines
          .filter(keep)
          .map((line) => `${line}\n`)
          .join('');
      }
    },
    process.stdout,
    { end: false },
  );
  return end;
}
