import { Command } from 'commander';
import { runProgram, type LazyCommand } from '../command-line/run-program.ts';

/** Measured comparisons; each prints a table, or with --json one JSON object for each result. */
const BENCHMARKS: Record<string, LazyCommand> = {
  podnet: {
    summary: 'pod network: throughput between pods of two nodes, beside the same path built by hand',
    load: async () => import('./podnet/podnet-command.ts'),
  },
  cni: {
    summary: 'CNI plugin: ADD and DEL beside the bridge and host-local plugins',
    load: async () => import('./cni/cni-command.ts'),
  },
  nodes: {
    summary: "node agent in large clusters: memory, the cost of a node's joining",
    load: async () => import('./nodes/nodes-command.ts'),
  },
  proxy: {
    summary: 'service proxy, in every mode: first sync, time of a change, CPU, memory, connection set-up',
    load: async () => import('./proxy/proxy-command.ts'),
  },
  'set-up': {
    summary: 'service proxy: setting up a connection, with many Services beside few',
    load: async () => import('./proxy/set-up-command.ts'),
  },
  'proxy-process': {
    summary: 'what `bench proxy` starts and measures',
    load: async () => import('./proxy/proxy-process.ts'),
    hidden: true,
  },
};

void runProgram(new Command('bench').description('Measures Flatnet on this machine.'), BENCHMARKS);
