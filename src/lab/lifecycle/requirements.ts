import { existsSync, readFileSync } from 'node:fs';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { CommandError, run } from '../../kernel/exec/run.ts';
import { tool, type ToolName } from '../node/tool.ts';

const TOOLS: readonly ToolName[] = ['unshare', 'nsenter', 'busybox', 'setpriv', 'setsid', 'env'];

/** Says in one line what the machine lacks for a lab. Throws NOT_ROOT, TOOL_MISSING, KERNEL_LACKS, CNI_PLUGIN_MISSING. */
export async function checkRequirements(pluginCandidates: readonly string[]): Promise<void> {
  if (process.platform !== 'linux') {
    throw lacks('a lab needs Linux', 'run it in a Linux virtual machine');
  }
  if (process.getuid?.() !== 0) {
    throw new FlatnetError('root is needed to make network namespaces', {
      code: 'NOT_ROOT',
      hint: 'run the same command with sudo',
    });
  }
  for (const name of TOOLS) tool(name);
  for (const [file, what] of [
    ['/proc/self/ns/net', 'network namespaces (CONFIG_NET_NS)'],
    ['/proc/self/ns/pid', 'PID namespaces (CONFIG_PID_NS)'],
    ['/proc/self/ns/uts', 'UTS namespaces (CONFIG_UTS_NS)'],
  ] as const) {
    if (!existsSync(file))
      throw lacks(`this kernel has no ${what}`, "use a kernel that has them, such as Debian's");
  }
  await checkNamespaces();
  await checkOverlay();
  if (!pluginCandidates.some((path) => existsSync(path))) {
    throw new FlatnetError(`the CNI plugin is missing: ${pluginCandidates[0] ?? 'flatnet-cni'}`, {
      code: 'CNI_PLUGIN_MISSING',
      hint: 'install gcc and libc6-dev, then npm run build',
    });
  }
}

/** Containers without privileges have the files but are refused the call. */
async function checkNamespaces(): Promise<void> {
  const flags = ['--net', '--mount', '--pid', '--uts', '--ipc', '--fork'];
  try {
    await run(tool('unshare'), [...flags, tool('busybox'), 'true']);
  } catch (error) {
    const said = error instanceof CommandError ? error.stderr.trim() : String(error);
    throw lacks(
      `this machine does not allow new namespaces (${said})`,
      'use a virtual machine, or a container with --privileged',
    );
  }
}

async function checkOverlay(): Promise<void> {
  if (hasOverlay()) return;
  await run('modprobe', ['overlay']).catch(() => undefined);
  if (!hasOverlay())
    throw lacks('this kernel has no overlayfs (CONFIG_OVERLAY_FS)', 'load it: modprobe overlay');
}

function lacks(what: string, hint: string): FlatnetError {
  return new FlatnetError(what, { code: 'KERNEL_LACKS', hint });
}

function hasOverlay(): boolean {
  return /\boverlay$/m.test(readFileSync('/proc/filesystems', 'utf8'));
}
