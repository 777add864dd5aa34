import { Command } from 'commander';
import { downCommand } from './lab-down.ts';
import { execCommand } from './lab-exec.ts';
import { kubeconfigCommand, logsCommand } from './lab-files.ts';
import { statusCommand } from './lab-status.ts';
import { daemonCommand, upCommand } from './lab-up.ts';

/** `flatnet lab`: clusters of namespaces on this machine. */
export function command(): Command {
  return new Command('lab')
    .summary('bring up clusters of several nodes on this machine')
    .description(
      'Clusters on this machine: each node and each pod is a set of kernel namespaces, the network between them is ' +
        "Flatnet's own, and plain kubectl talks to them.",
    )
    .enablePositionalOptions()
    .addCommand(upCommand())
    .addCommand(downCommand())
    .addCommand(statusCommand())
    .addCommand(execCommand())
    .addCommand(logsCommand())
    .addCommand(kubeconfigCommand())
    .addCommand(daemonCommand(), { hidden: true })
    .addHelpText(
      'after',
      `
A first walk:
  flatnet lab up                                   three nodes, Ready in seconds
  export KUBECONFIG=$(flatnet lab kubeconfig --path)
  kubectl get nodes -o wide
  kubectl apply -f examples/guestbook/
  flatnet lab exec node-1 -- ip route              what the agent has put into a node's kernel
  flatnet lab exec outside -- curl -s http://172.30.0.10:30080/   a node port, from outside of the cluster
  flatnet lab logs node-1                          what the node's agent says
  flatnet lab down                                 leaves no trace`,
    );
}
