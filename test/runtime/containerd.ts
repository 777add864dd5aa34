import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import { run } from '../../src/kernel/exec/run.ts';
import { withNetns } from '../../src/kernel/netns/netns.ts';
import { BUSYBOX_IMAGE, makeBusyboxImage } from './busybox-image.ts';
import { CriClient } from './cri-client.ts';

export interface ContainerdOptions {
  /** Descriptor of the node's network namespace. */
  readonly netns: number;
  /** Folders of the node's plugins and their configuration. */
  readonly binDir: string;
  readonly confDir: string;
}

/** Debian's containerd as a node has it, with folders of its own: neither systemd nor another containerd is touched. */
export class Containerd {
  readonly cri: CriClient;
  readonly #folder: string;
  readonly #process: ChildProcess;

  private constructor(folder: string, process: ChildProcess) {
    this.#folder = folder;
    this.#process = process;
    this.cri = new CriClient(join(folder, 'containerd.sock'));
  }

  static async start(options: ContainerdOptions): Promise<Containerd> {
    const folder = mkdtempSync(join(tmpdir(), 'fnt-ctrd-'));
    mkdirSync(options.confDir, { recursive: true });
    mkdirSync(options.binDir, { recursive: true });
    // containerd calls it for every pod, before the network's own plugins; nodes have it from the package kubernetes-cni.
    symlinkSync('/usr/lib/cni/loopback', join(options.binDir, 'loopback'));
    writeFileSync(join(folder, 'config.toml'), renderConfig(folder, options));
    const log = openSync(join(folder, 'log'), 'a');
    const child = withNetns(options.netns, () =>
      spawn('containerd', ['--config', join(folder, 'config.toml')], { stdio: ['ignore', log, log] }),
    );
    closeSync(log);
    const containerd = new Containerd(folder, child);
    try {
      await containerd.#prepare();
      return containerd;
    } catch (error) {
      const words = containerd.log;
      await containerd.stop();
      throw new Error(`containerd does not start: ${words}`, { cause: error });
    }
  }

  get log(): string {
    return readFileSync(join(this.#folder, 'log'), 'utf8');
  }

  /** Ends all its pods, then itself. */
  async stop(): Promise<void> {
    for (const pod of await this.cri.pods().catch(() => [])) {
      await this.cri.stopPod(pod).catch(() => undefined);
      await this.cri.removePod(pod).catch(() => undefined);
    }
    this.cri.close();
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.kill('SIGTERM');
      await once(this.#process, 'exit');
    }
    await this.#unmount();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** What it leaves when it is ended in the middle of something. */
  async #unmount(): Promise<void> {
    const mounted = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[1] ?? '')
      .filter((path) => path.startsWith(`${this.#folder}/`));
    for (const path of mounted.toReversed()) await run('umount', ['--lazy', path]).catch(() => undefined);
  }

  async #prepare(): Promise<void> {
    const image = await makeBusyboxImage(this.#folder);
    await vi.waitFor(async () => this.cri.conditions(), { timeout: 15_000, interval: 50 });
    const socket = join(this.#folder, 'containerd.sock');
    await run('ctr', ['--address', socket, '--namespace', 'k8s.io', 'images', 'import', image]);
  }
}

/** Only what differs from containerd's defaults; paths are this test's own and need no escaping. */
function renderConfig(folder: string, { binDir, confDir }: ContainerdOptions): string {
  return `version = 2
root = "${folder}/root"
state = "${folder}/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "${folder}/containerd.sock"
[ttrpc]
  address = "${folder}/containerd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${BUSYBOX_IMAGE}"
  disable_apparmor = true
  # This machine's memory controller may not let the score be lowered.
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${binDir}"
    conf_dir = "${confDir}"
`;
}
