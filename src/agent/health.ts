/** One thing that has to be well. */
export interface HealthCheck {
  readonly name: string;
  /** Why it is not well; undefined when it is. */
  readonly failure: () => string | undefined;
  /** False: shown, but without effect on the outcome. */
  readonly required: boolean;
}

export interface HealthReport {
  readonly ok: boolean;
  readonly text: string;
}

/** The answer in the manner of Kubernetes' own components: `ok`, or with `?verbose` a line for each check. */
export function reportHealth(
  endpoint: string,
  checks: readonly HealthCheck[],
  verbose: boolean,
): HealthReport {
  const results = checks.map((check) => ({ check, failure: check.failure() }));
  const ok = results.every(({ check, failure }) => failure === undefined || !check.required);
  if (ok && !verbose) return { ok, text: 'ok' };
  const lines = results.map(({ check, failure }) => {
    if (failure === undefined) return `[+]${check.name} ok`;
    return check.required ? `[-]${check.name} failed: ${failure}` : `[!]${check.name}: ${failure}`;
  });
  return { ok, text: [...lines, `${endpoint} check ${ok ? 'passed' : 'failed'}`, ''].join('\n') };
}
