import { Command } from 'commander';
import { checkCommand } from './podnet-check.ts';
import { dockerOptsCommand } from './podnet-docker-opts.ts';
import { planChangeCommand } from './podnet-plan-change.ts';
import { statusCommand } from './podnet-status.ts';

/** `flatnet podnet …`: the pod network, seen from outside of the agent. */
export function command(): Command {
  return new Command('podnet')
    .description("Looks at the pod network and its configuration, which is flannel's net-conf.json.")
    .addCommand(checkCommand())
    .addCommand(dockerOptsCommand())
    .addCommand(planChangeCommand())
    .addCommand(statusCommand());
}
