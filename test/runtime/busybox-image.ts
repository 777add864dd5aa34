import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../src/kernel/exec/run.ts';

/** What containers of the tests are made of, the sandbox's own one too. */
export const BUSYBOX_IMAGE = 'flatnet.test/busybox:1';

const PROGRAMS = ['sh', 'sleep', 'wget', 'nc', 'httpd', 'ip', 'cat', 'dd'];

interface Blob {
  readonly digest: string;
  readonly size: number;
}

/** Makes an image of Debian's static busybox as a tar file of the OCI image layout (image-spec 1.0); returns its path. */
export async function makeBusyboxImage(folder: string): Promise<string> {
  const root = join(folder, 'rootfs');
  const layout = join(folder, 'layout');
  for (const each of ['bin', 'etc', 'tmp', 'proc', 'sys', 'dev']) {
    mkdirSync(join(root, each), { recursive: true });
  }
  mkdirSync(join(layout, 'blobs', 'sha256'), { recursive: true });
  copyFileSync('/bin/busybox', join(root, 'bin', 'busybox'));
  for (const program of PROGRAMS) symlinkSync('busybox', join(root, 'bin', program));
  const put = (content: Buffer): Blob => {
    const digest = createHash('sha256').update(content).digest('hex');
    writeFileSync(join(layout, 'blobs', 'sha256', digest), content);
    return { digest: `sha256:${digest}`, size: content.length };
  };
  const putJson = (content: object): Blob => put(Buffer.from(JSON.stringify(content)));

  const tar = join(folder, 'layer.tar');
  await run('tar', ['-C', root, '--owner=0', '--group=0', '-cf', tar, '.']);
  const layer = put(readFileSync(tar));
  const config = putJson({
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: { Env: ['PATH=/bin'], Entrypoint: ['/bin/sleep', '1000000'] },
    rootfs: { type: 'layers', diff_ids: [layer.digest] },
  });
  const manifest = putJson({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...layer }],
  });
  const index = {
    schemaVersion: 2,
    manifests: [
      {
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        ...manifest,
        annotations: { 'io.containerd.image.name': BUSYBOX_IMAGE },
      },
    ],
  };
  writeFileSync(join(layout, 'index.json'), JSON.stringify(index));
  writeFileSync(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  const image = join(folder, 'image.tar');
  await run('tar', ['-C', layout, '-cf', image, '.']);
  return image;
}
