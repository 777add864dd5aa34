import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import type { Container } from 'kubernetes-types/core/v1.js';
import { resolveImage, type Image } from '../images/catalogue.ts';
import { lowerLayers } from '../images/layers.ts';
import { INSTALLED_NODE, INSTALLED_PACKAGE } from '../node/installation.ts';
import { privilegeCommand } from './capabilities.ts';
import { ContainerLog } from './container-log.ts';
import { containerFolder, ContainerProcess, type BindMount } from './container-process.ts';
import { containerEnvironment } from './environment.ts';
import { expand } from './expansion.ts';
import { factsOf, type PodContext } from './pod-context.ts';

/** For the images whose programs are this very program. */
const PROGRAM: readonly BindMount[] = [INSTALLED_NODE, INSTALLED_PACKAGE].map((path) => ({
  source: path,
  destination: path,
  readOnly: true,
}));

/** One run of a container, started. */
export interface StartedContainer {
  readonly id: string;
  readonly process: ContainerProcess;
  readonly log: ContainerLog;
}

/** Everything about a run that is known before its program starts; asking for it can fail and be tried again. */
export interface PreparedContainer {
  readonly image: Image;
  readonly variables: Map<string, string>;
  readonly mounts: readonly BindMount[];
}

/** Throws what stands behind ErrImagePull (IMAGE_…) and CreateContainerConfigError (the rest). */
export async function prepareContainer(
  context: PodContext,
  container: Container,
): Promise<PreparedContainer> {
  const image = resolveImage(container.image ?? '');
  const pod = context.pod();
  const namespace = pod.metadata?.namespace ?? 'default';
  const variables = await containerEnvironment({
    container,
    image,
    hostname: context.hostname,
    facts: factsOf(context),
    services: await context.shared.serviceVariables(namespace, pod.spec?.enableServiceLinks !== false),
    objects: context.shared.objects,
  });
  const own = ['resolv.conf', 'hosts', 'hostname'].map((file) => ({
    source: `${context.volumes.folder}/etc/${file}`,
    destination: `/etc/${file}`,
    readOnly: false,
  }));
  // What a pod mounts itself comes last and so lies above.
  return { image, variables, mounts: [...PROGRAM, ...own, ...context.volumes.mounts(container, variables)] };
}

/** Throws CONTAINER_NOT_STARTED. */
export async function startContainer(
  context: PodContext,
  container: Container,
  prepared: PreparedContainer,
  attempt: number,
): Promise<StartedContainer> {
  const id = randomBytes(32).toString('hex');
  const { image, variables } = prepared;
  const security = container.securityContext;
  const log = new ContainerLog(context.shared.node.path(logFile(context, container.name, attempt)));
  const process = await context.shared.slots.use(async () =>
    ContainerProcess.start(context.shared.node, context.sandbox, {
      id,
      lower: lowerLayers(image),
      readOnlyRoot: security?.readOnlyRootFilesystem === true,
      privileged: security?.privileged === true,
      workingDir: container.workingDir ?? image.workingDir ?? '/',
      mounts: prepared.mounts,
      env: variables,
      privileges: privilegeCommand(security, context.pod().spec?.securityContext),
      command: commandOf(container, image, variables),
      log,
      stdin: container.stdin === true,
      tty: container.tty === true,
    }),
  );
  return { id, process, log };
}

/** Removes what a run that has ended wrote to its root. */
export async function removeContainer(context: PodContext, id: string): Promise<void> {
  await rm(context.shared.node.path(containerFolder(id)), { recursive: true, force: true });
}

/** Inside of the node, where the CRI has it. */
function logFile(context: PodContext, container: string, attempt: number): string {
  const { namespace, name, uid } = context.pod().metadata ?? {};
  return `/var/log/pods/${namespace}_${name}_${uid}/${container}/${attempt}.log`;
}

/** `command` replaces the image's entrypoint and its arguments, `args` its arguments alone. */
export function commandOf(
  container: Container,
  image: Image,
  variables: ReadonlyMap<string, string>,
): string[] {
  const expanded = (list: readonly string[]): string[] => list.map((word) => expand(word, variables));
  const { command = [], args = [] } = container;
  if (command.length > 0) return expanded([...command, ...args]);
  return [...image.entrypoint, ...(args.length > 0 ? expanded(args) : image.cmd)];
}
