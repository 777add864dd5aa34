import { readFile } from 'node:fs/promises';
import { Command, InvalidArgumentError } from 'commander';
import { installFile } from '../cni/installation.ts';
import { FlatnetError } from '../errors/flatnet-error.ts';
import { renderDockerOptions } from '../podnet/docker-options.ts';

interface DockerOptsFlags {
  readonly flannelEnv: string;
  readonly dockerEnv?: string;
  readonly individual: boolean;
  readonly combined: boolean;
  readonly key: string;
  readonly ipMasqOption: boolean;
}

/** `flatnet podnet docker-opts`: flannel's mk-docker-opts.sh. */
export function dockerOptsCommand(): Command {
  return new Command('docker-opts')
    .summary("print Docker's options for this node's subnet, as flannel's mk-docker-opts.sh does")
    .description(
      "Makes an environment file with Docker's options (--bip, --mtu, --ip-masq=false) of subnet.env, and prints it. " +
        "The flags are those of flannel's mk-docker-opts.sh; without -i and -c both forms are printed.",
    )
    .option('-f, --flannel-env <file>', 'the subnet.env to read', '/run/flannel/subnet.env')
    .option('-d, --docker-env <file>', 'write to this file (/run/docker_opts.env in the guides) instead')
    .option('-i, --individual', 'each option as a variable of its own: DOCKER_OPT_MTU', false)
    .option('-c, --combined', 'all options in one variable', false)
    .option('-k, --key <name>', 'name of that variable', variableName, 'DOCKER_OPTS')
    .option('-m, --no-ip-masq-option', 'leave --ip-masq out, for a Docker that does not know it')
    .action(async (flags: DockerOptsFlags) => run(flags));
}

async function run(flags: DockerOptsFlags): Promise<void> {
  const text = renderDockerOptions(await readSubnetEnv(flags.flannelEnv), {
    individual: flags.individual,
    combined: flags.combined,
    key: flags.key,
    ipMasq: flags.ipMasqOption,
  });
  if (flags.dockerEnv === undefined) process.stdout.write(text);
  else await installFile(flags.dockerEnv, text, 0o644);
}

async function readSubnetEnv(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new FlatnetError(`cannot read ${path}: ${(cause as Error).message}`, {
      code: 'SUBNET_ENV_MISSING',
      hint: 'the agent (or flanneld) writes it when the node has its subnet; give another file with -f',
      cause,
    });
  }
}

function variableName(text: string): string {
  if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(text)) return text;
  throw new InvalidArgumentError('It must be the name of a variable.');
}
