import { FlatnetError } from '../errors/flatnet-error.ts';
import { subnetEnvValues } from './subnet-env.ts';

export interface DockerOptionsWish {
  /** A variable for each option: DOCKER_OPT_MTU. */
  readonly individual: boolean;
  /** All of them in one variable. */
  readonly combined: boolean;
  /** Name of that variable. */
  readonly key: string;
  /** Whether Docker's own masquerade may be switched off; false for a Docker that does not know the option. */
  readonly ipMasq: boolean;
}

/**
 * What flannel's mk-docker-opts.sh makes of a subnet.env, as an environment file: Docker's bridge gets the node's
 * subnet. Throws INVALID_SUBNET_ENV for a file that has no subnet in it.
 */
export function renderDockerOptions(subnetEnv: string, wish: DockerOptionsWish): string {
  const values = subnetEnvValues(subnetEnv);
  const options = new Map<string, string>();
  const subnet = values.get('FLANNEL_SUBNET');
  const mtu = values.get('FLANNEL_MTU');
  if (subnet === undefined || !/^[0-9.]+\/\d+$/.test(subnet)) {
    throw new FlatnetError(`FLANNEL_SUBNET is ${subnet === undefined ? 'missing' : JSON.stringify(subnet)}`, {
      code: 'INVALID_SUBNET_ENV',
      hint: "Docker's --bip needs an IPv4 subnet; the agent writes the file when the node has one",
    });
  }
  options.set('DOCKER_OPT_BIP', `--bip=${subnet}`);
  // Who masquerades already must not do so twice: Docker would hide pods from each other.
  if (values.get('FLANNEL_IPMASQ') === 'true' && wish.ipMasq)
    options.set('DOCKER_OPT_IPMASQ', '--ip-masq=false');
  if (mtu !== undefined && /^\d+$/.test(mtu)) options.set('DOCKER_OPT_MTU', `--mtu=${mtu}`);
  const both = wish.individual === wish.combined;
  const lines = [...options].map(([name, option]) => `${name}="${option}"`);
  return [
    ...(wish.individual || both ? lines : []),
    // With a blank on either side, as other tools may have come to expect.
    ...(wish.combined || both ? [`${wish.key}=" ${[...options.values()].join(' ')} "`] : []),
    '',
  ].join('\n');
}
