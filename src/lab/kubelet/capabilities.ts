import type { PodSecurityContext, SecurityContext } from 'kubernetes-types/core/v1.js';
import { tool } from '../node/tool.ts';

/** What containerd and Docker leave to a container that asks for nothing. */
const DEFAULT_CAPABILITIES = [
  'audit_write chown dac_override fowner fsetid kill mknod net_bind_service net_raw setfcap setgid setpcap',
  'setuid sys_chroot',
].flatMap((line) => line.split(' '));

/** Arguments up to the program: setpriv(1) with the container's user, groups and capability bounds. */
export function privilegeCommand(
  context: SecurityContext | undefined,
  pod: PodSecurityContext | undefined,
): string[] {
  const command = [tool('setpriv')];
  const uid = context?.runAsUser ?? pod?.runAsUser;
  const gid = context?.runAsGroup ?? pod?.runAsGroup ?? (uid === undefined ? undefined : 0);
  if (uid !== undefined) command.push(`--reuid=${uid}`);
  if (gid !== undefined) {
    const groups = [...(pod?.supplementalGroups ?? []), ...(pod?.fsGroup === undefined ? [] : [pod.fsGroup])];
    command.push(`--regid=${gid}`, groups.length === 0 ? '--clear-groups' : `--groups=${groups.join(',')}`);
  }
  const kept = context?.privileged === true ? 'all' : keptCapabilities(context);
  if (kept !== 'all') {
    command.push(
      `--bounding-set=${['-all', ...kept.map((name) => `+${name}`)].join(',')}`,
      '--inh-caps=-all',
    );
  }
  if (context?.allowPrivilegeEscalation === false) command.push('--no-new-privs');
  return [...command, '--'];
}

/** Names as setpriv wants them; only names that look like capabilities reach its command line. */
function keptCapabilities(context: SecurityContext | undefined): string[] | 'all' {
  const add = names(context?.capabilities?.add);
  const drop = new Set(names(context?.capabilities?.drop));
  if (add.includes('all')) return 'all';
  const kept = drop.has('all') ? [] : DEFAULT_CAPABILITIES.filter((name) => !drop.has(name));
  return [...new Set([...kept, ...add])];
}

function names(list: readonly string[] | undefined): string[] {
  return (list ?? [])
    .map((name) => name.toLowerCase().replace(/^cap_/, ''))
    .filter((name) => /^[a-z_]+$/.test(name));
}
