import type { Logger } from '../../log/logger.ts';
import type { LabOptions } from '../state/lab-options.ts';
import type { ControlPlane } from './control-plane.ts';

export async function startReal(
  options: LabOptions,
  apiAddress: string,
  loopbackFd: number,
  folder: string,
  logger: Logger,
): Promise<ControlPlane> {
  void [options, apiAddress, loopbackFd, folder, logger];
  throw new Error('not yet');
}
