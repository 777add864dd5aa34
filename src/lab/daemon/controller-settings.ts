import type { Logger } from '../../log/logger.ts';
import { Cidr } from '../../net/cidr.ts';
import type { ControllerOptions } from '../controllers/controllers.ts';
import type { LabOptions } from '../state/lab-options.ts';

/** Length of a node's part of the pod range. */
const NODE_PREFIX = { 4: 24, 6: 64 } as const;

export function controllerSettings(
  options: LabOptions,
  rootCertificate: string,
  logger: Logger,
): ControllerOptions {
  const podCidrs = [options.podCidr, ...(options.ipv6 ? [options.podCidrV6] : [])].map((text) => {
    const range = Cidr.parse(text);
    return { range, nodePrefixLength: NODE_PREFIX[range.family] };
  });
  return { podCidrs, rootCertificate, logger };
}
