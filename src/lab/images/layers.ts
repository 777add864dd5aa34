import { chmodSync, existsSync, mkdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { run } from '../../kernel/exec/run.ts';
import { scriptPath, SCRIPTS, type ScriptName } from '../node/scripts.ts';
import { tool } from '../node/tool.ts';
import { allImages, type Image } from './catalogue.ts';
import { wgetScript } from './wget-script.ts';

/** Beneath every image: the programs that images name by absolute path, and what containers must not see. */
const COMMON = 'common';

/** Applets that start containers; they stay the machine's own. */
const NOT_APPLETS = new Set(['env', 'setpriv', 'setsid', 'nsenter', 'unshare', 'busybox', 'node']);

/** Programs of images that are ours: absolute path to the arguments for flatnet that come first. */
const SHIMS: Readonly<Record<string, readonly string[]>> = {
  '/usr/local/bin/flatnet': [],
  '/agnhost': ['program'],
  '/usr/local/bin/agnhost': ['program'],
};

export interface LayerOptions {
  /** Folder that gets one folder per layer. */
  readonly folder: string;
  /** Command line of this program inside of a container. */
  readonly flatnet: readonly string[];
  /** Host folders that containers see empty. */
  readonly hidden: readonly string[];
}

/** Writes the layers of all images once a lab; containers mount them read-only above the machine's root. */
export async function makeLayers(options: LayerOptions): Promise<void> {
  const common = join(options.folder, COMMON);
  for (const [path, args] of Object.entries(SHIMS)) {
    writeExecutable(join(common, path), shim([...options.flatnet, ...args]));
  }
  for (const [name, text] of Object.entries(SCRIPTS)) {
    writeExecutable(scriptPath(name as ScriptName, options.folder), text);
  }
  const hidden = outermost(options.hidden).map((path) => `${path}\n`);
  writeFileSync(join(options.folder, 'hidden'), hidden.join(''));
  for (const image of allImages()) {
    const layer = join(options.folder, image.name);
    mkdirSync(layer, { recursive: true });
    for (const [path, content] of Object.entries(image.files ?? {})) {
      mkdirSync(dirname(join(layer, path)), { recursive: true });
      writeFileSync(join(layer, path), content);
    }
    if (image.busybox === true) await linkApplets(layer);
  }
}

/** Lower layers of a container's root for overlayfs, the topmost first, seen from inside of a node. */
export function lowerLayers(image: Image): string {
  return `/run/lab/images/${image.name}:/run/lab/images/${COMMON}:/run/lab/base`;
}

function outermost(paths: readonly string[]): string[] {
  return paths.filter((path) => !paths.some((other) => path.startsWith(`${other}/`)));
}

async function linkApplets(layer: string): Promise<void> {
  const busybox = tool('busybox');
  const { stdout } = await run(busybox, ['--list']);
  // Debian's /bin is a link to usr/bin; elsewhere it is a folder, and the links belong there.
  const bin = join(layer, realpathSync('/bin'));
  mkdirSync(bin, { recursive: true });
  for (const applet of stdout.split('\n').filter((name) => name !== '' && !NOT_APPLETS.has(name))) {
    const link = join(bin, applet);
    if (!existsSync(link)) symlinkSync(busybox, link);
  }
  const usage = await run(busybox, ['wget', '--help']);
  if (!/\s-T\b/.test(usage.stderr + usage.stdout)) {
    rmSync(join(bin, 'wget'), { force: true });
    writeExecutable(join(bin, 'wget'), wgetScript(busybox));
  }
}

function shim(command: readonly string[]): string {
  return `#!/bin/sh\nexec ${command.map(quote).join(' ')} "$@"\n`;
}

/** POSIX shell, 2.2.2: nothing is special between single quotes but the quote itself. */
function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

function writeExecutable(path: string, content: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  chmodSync(path, 0o755);
}
