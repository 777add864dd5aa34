import { accessSync, constants } from 'node:fs';
import { dirname, join } from 'node:path';
import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { LinuxRouteKernel } from '../../../kernel/netlink/apply.ts';
import type { BackendContext, OpenedBackend } from '../open-backend.ts';
import { UdpDriver } from './driver.ts';
import type { UdpSettings } from './settings.ts';
import { UdpBackend } from './udp.ts';

const PROGRAM = 'flatnet-udp';

/** Throws UDP_WORKER_MISSING. */
export function openUdpBackend(settings: UdpSettings, { netns }: BackendContext): OpenedBackend {
  const options = { route: LinuxRouteKernel.open(netns), program: findProgram() };
  const driver = new UdpDriver(netns === undefined ? options : { ...options, netns });
  return { backend: new UdpBackend(settings), drivers: [driver] };
}

/** Beside the bundle that runs, or in `dist` when it runs from source. */
function findProgram(): string {
  const folder = dirname(process.argv[1] ?? '');
  const candidates = [join(folder, PROGRAM), join(folder, '..', '..', 'dist', PROGRAM)];
  const found = candidates.find(isExecutable);
  if (found !== undefined) return found;
  throw new FlatnetError(`the worker of the backend udp is in none of ${candidates.join(', ')}`, {
    code: 'UDP_WORKER_MISSING',
    hint: 'build it (npm run build, which needs gcc and libc6-dev), or choose another network.Backend.Type',
  });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
