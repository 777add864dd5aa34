import { FlatnetError } from '../../errors/flatnet-error.ts';
import { findProgram } from '../../kernel/exec/find-program.ts';
import { repositoryOf } from './reference.ts';

/** What a container of the image runs and sees, beside the machine's own programs. */
export interface Image {
  /** Short name; its layer of files stands below this name. */
  readonly name: string;
  /** Repositories that name it, without registry and `library/`. */
  readonly repositories: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly workingDir?: string;
  /** Files that the image brings: absolute path to content. */
  readonly files?: Readonly<Record<string, string>>;
  /** Applets of busybox stand in the place of the machine's programs. */
  readonly busybox?: boolean;
  /** Programs of the machine without which it cannot run. */
  readonly needs?: readonly string[];
}

export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Command line of this program; FLATNET in an image's command stands for it. */
const FLATNET = '/usr/local/bin/flatnet';

const NGINX_CONF = `user www-data;
worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events {
  worker_connections 1024;
}
http {
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  access_log /dev/stdout;
  sendfile on;
  keepalive_timeout 65;
  include /etc/nginx/conf.d/*.conf;
}
`;

const NGINX_DEFAULT = `server {
  listen 80;
  listen [::]:80;
  server_name localhost;
  location / {
    root /usr/share/nginx/html;
    index index.html index.htm;
  }
}
`;

const NGINX_INDEX = `<!DOCTYPE html>
<html>
<head><title>Welcome to nginx!</title></head>
<body><h1>Welcome to nginx!</h1></body>
</html>
`;

/** There is no registry: these are the images that exist, each made of programs of the machine. */
const IMAGES: readonly Image[] = [
  { name: 'busybox', repositories: ['busybox', 'alpine'], entrypoint: [], cmd: ['sh'], busybox: true },
  { name: 'debian', repositories: ['debian', 'ubuntu', 'bash'], entrypoint: [], cmd: ['bash'] },
  {
    name: 'nginx',
    repositories: ['nginx', 'nginxinc/nginx-unprivileged', 'bitnami/nginx'],
    entrypoint: [],
    cmd: ['nginx', '-g', 'daemon off;'],
    files: {
      '/etc/nginx/nginx.conf': NGINX_CONF,
      '/etc/nginx/conf.d/default.conf': NGINX_DEFAULT,
      '/usr/share/nginx/html/index.html': NGINX_INDEX,
    },
    needs: ['nginx'],
  },
  {
    name: 'agnhost',
    repositories: ['e2e-test-images/agnhost', 'kubernetes-e2e-test-images/agnhost', 'agnhost'],
    entrypoint: ['/agnhost'],
    cmd: ['pause'],
  },
  {
    name: 'serve-hostname',
    repositories: ['serve_hostname', 'e2e-test-images/serve-hostname', 'google-containers/serve_hostname'],
    entrypoint: ['/agnhost', 'serve-hostname'],
    cmd: [],
  },
  {
    name: 'iperf3',
    repositories: ['iperf3', 'networkstatic/iperf3', 'taoyou/iperf3-alpine', 'mlabbe/iperf3'],
    entrypoint: ['iperf3'],
    cmd: [],
    needs: ['iperf3'],
  },
  { name: 'netshoot', repositories: ['nicolaka/netshoot', 'netshoot'], entrypoint: [], cmd: ['bash'] },
  {
    name: 'dnsutils',
    repositories: ['e2e-test-images/jessie-dnsutils', 'kubernetes-e2e-test-images/dnsutils', 'dnsutils'],
    entrypoint: [],
    cmd: ['sleep', 'infinity'],
    needs: ['dig'],
  },
  {
    name: 'redis',
    repositories: ['redis', 'bitnami/redis', 'google_samples/gb-redis-follower', 'gb-redis-follower'],
    entrypoint: [],
    // As the official image does: reachable from other pods without a password.
    cmd: ['redis-server', '--protected-mode', 'no'],
    workingDir: '/data',
    needs: ['redis-server'],
  },
  {
    name: 'curl',
    repositories: ['curlimages/curl', 'curl'],
    entrypoint: ['curl'],
    cmd: [],
    needs: ['curl'],
  },
  { name: 'pause', repositories: ['pause'], entrypoint: ['busybox', 'sleep', '2147483647'], cmd: [] },
  { name: 'node', repositories: ['node'], entrypoint: [], cmd: ['node'], needs: ['node'] },
  {
    name: 'guestbook',
    repositories: ['flatnet/guestbook'],
    entrypoint: [FLATNET, 'program', 'guestbook'],
    cmd: [],
  },
  { name: 'flatnet', repositories: ['flatnet/flatnet', 'flatnet'], entrypoint: [FLATNET], cmd: [] },
];

const BY_REPOSITORY = new Map(
  IMAGES.flatMap((image) => image.repositories.map((repository) => [repository, image] as const)),
);

/** All images, for making their layers and for telling which there are. */
export function allImages(): readonly Image[] {
  return IMAGES;
}

/**
 * The image that a reference names; tag, digest and registry are not looked at. Throws IMAGE_NOT_FOUND with the
 * list of those that exist, IMAGE_NEEDS_PROGRAM where the machine lacks what it runs.
 */
export function resolveImage(reference: string): Image {
  const image = BY_REPOSITORY.get(repositoryOf(reference));
  if (image === undefined) {
    throw new FlatnetError(
      `image "${reference}" not found: the lab has no registry, its images are ${imageNames().join(', ')}`,
      { code: 'IMAGE_NOT_FOUND' },
    );
  }
  const missing = (image.needs ?? []).find((program) => findProgram(program) === undefined);
  if (missing !== undefined) {
    throw new FlatnetError(`image "${reference}" needs the program ${missing}, which this machine lacks`, {
      code: 'IMAGE_NEEDS_PROGRAM',
      hint: `install ${missing} on the machine that runs the lab`,
    });
  }
  return image;
}

/** The first repository of each image: what a person writes. */
export function imageNames(): string[] {
  return IMAGES.map((image) => image.repositories[0] ?? image.name).sort();
}
