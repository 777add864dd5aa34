import { kubeProxyFigures, KUBE_PROXY_NO_RULES_US } from './kube-proxy-figures.ts';
import type { ProxyMeasurement } from './measurement.ts';

const HEAD = [
  ['proxy', ''],
  ['mode', ''],
  ['services', ''],
  ['first sync', 's'],
  ['its CPU', 's'],
  ['change p50', 'ms'],
  ['p99', 'ms'],
  ['CPU/change', 'ms'],
  ['tools', 'ms'],
  ['memory', 'MB'],
  ['no rules', 'us'],
  ['direct', 'us'],
  ['first', 'us'],
  ['last', 'us'],
] as const;

/** A line for each measurement, and below it kube-proxy's where that is known. */
export function table(results: readonly ProxyMeasurement[]): string {
  const rows = [HEAD.map(([name]) => name), HEAD.map(([, unit]) => unit), ...results.flatMap(rowsOf)];
  const widths = HEAD.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) =>
        column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return `${rows.map(line).join('\n')}\n`;
}

function rowsOf(result: ProxyMeasurement): string[][] {
  const { mode, machine, services, endpoints, connectUs, changeMs } = result;
  const own = [
    'flatnet',
    machine === undefined ? mode : `${mode} (uml)`,
    String(services),
    seconds(result.firstSyncMs),
    seconds(result.firstSyncCpuMs),
    changeMs.p50.toFixed(2),
    changeMs.p99.toFixed(2),
    result.cpuMsPerChange.toFixed(2),
    result.toolCpuMsPerChange.toFixed(2),
    result.rssMb.toFixed(0),
    ...[connectUs.bare, connectUs.direct, connectUs.firstService, connectUs.lastService].map((time) =>
      time.toFixed(1),
    ),
  ];
  const known = kubeProxyFigures(mode, services, endpoints);
  if (known === undefined || machine !== undefined) return [own];
  const { firstSyncMs, rssMb, lastServiceUs } = known;
  const last = lastServiceUs === undefined ? '' : lastServiceUs.toFixed(1);
  const bare = lastServiceUs === undefined ? '' : KUBE_PROXY_NO_RULES_US.toFixed(1);
  const change = known.changeMs.toFixed(0);
  return [
    own,
    [
      'kube-proxy',
      '1.36.3',
      '',
      seconds(firstSyncMs),
      '',
      change,
      '',
      '',
      '',
      rssMb.toFixed(0),
      bare,
      '',
      '',
      last,
    ],
  ];
}

const seconds = (ms: number): string => (ms / 1000).toFixed(2);
