import { Command } from 'commander';
import manifest from '../../package.json' with { type: 'json' };
import { runProgram, type LazyCommand } from '../command-line/run-program.ts';

/** Loaded only when called: the agent must not pay for the lab, nor the other way round. */
const COMMANDS: Record<string, LazyCommand> = {
  agent: {
    summary: 'run the agent of a node: pod network, CNI, service proxy',
    load: async () => import('./agent.ts'),
  },
  dns: { summary: 'serve cluster DNS', load: async () => import('./dns.ts') },
  lab: {
    summary: 'bring up clusters of several nodes on this machine',
    load: async () => import('./lab.ts'),
  },
  podnet: {
    summary: 'look at the pod network and its configuration',
    load: async () => import('./podnet.ts'),
  },
  proxy: {
    summary: 'run the service proxy alone, in place of kube-proxy',
    load: async () => import('./proxy.ts'),
  },
  program: {
    summary: 'run one of the programs that the lab has instead of images',
    load: async () => import('./program.ts'),
  },
};

const program = new Command('flatnet')
  .description('The network of a Kubernetes cluster: pod network, CNI plugin, service proxy, cluster DNS.')
  .version(manifest.version, '--version', 'print the version')
  .enablePositionalOptions();

void runProgram(program, COMMANDS);
