import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { expect, test } from 'vitest';
import { runInUml, umlMissing, type UmlOptions } from './uml.ts';

const ROOT = join(import.meta.dirname, '..', '..');

interface JsonReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[] | null;
    }[];
  }[];
}

/** What became of a test in there. */
interface Outcome {
  readonly name: string;
  readonly failure?: string;
  readonly skipped?: string;
}

/**
 * Runs test files (`*.uml.ts`, paths from the repository's root) in one user-mode-linux, and tells each of their tests
 * as a test of the caller's file. To be awaited at the top of a `*.kernel.ts` file.
 */
export async function umlTests(files: readonly string[], options: UmlOptions = {}): Promise<void> {
  const missing = umlMissing();
  const outcomes: Outcome[] =
    missing === undefined
      ? await outcomesIn(files, options)
      : files.map((name) => ({ name, skipped: missing }));
  const named = outcomes.map((outcome) => [outcome.name, outcome] as const);
  test.for(named)('%s', ([, { failure, skipped }], context) => {
    context.skip(skipped !== undefined, skipped);
    expect(failure).toBeUndefined();
  });
}

async function outcomesIn(files: readonly string[], options: UmlOptions): Promise<Outcome[]> {
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-uml-results.'));
  try {
    const results = join(folder, 'results.json');
    const vitest = [join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run', '--root', ROOT, '--project', 'uml'];
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile=${results}`];
    const ended = await runInUml(process.execPath, [...vitest, ...reporters, ...files], {
      ...options,
      share: [...(options.share ?? []), folder],
    }).then(
      () => 'vitest wrote no results',
      (error: Error) => error.message,
    );
    if (!existsSync(results)) return [{ name: files.join(', '), failure: ended }];
    return readOutcomes(JSON.parse(readFileSync(results, 'utf8')) as JsonReport, files);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function readOutcomes({ testResults }: JsonReport, files: readonly string[]): Outcome[] {
  const ran = new Set(testResults.map(({ name }) => relative(ROOT, name)));
  const unseen = files.filter((file) => !ran.has(file));
  return [
    ...unseen.map((name) => ({ name, failure: 'it did not run' })),
    ...testResults.flatMap(({ name, status, message, assertionResults }) => {
      const file = relative(ROOT, name);
      if (assertionResults.length === 0) return [{ name: file, failure: message || 'no tests in it' }];
      const outcomes = assertionResults.map((result) => outcomeOf(file, result));
      // What a hook does before or after the tests is no test: those that it kept from running count as skipped.
      const hookFailed = status === 'failed' && outcomes.every(({ failure }) => failure === undefined);
      return hookFailed ? [...outcomes, { name: file, failure: message || 'a hook failed' }] : outcomes;
    }),
  ];
}

function outcomeOf(file: string, result: JsonReport['testResults'][0]['assertionResults'][0]): Outcome {
  const name = `${file} > ${result.fullName}`;
  if (result.status === 'failed') return { name, failure: (result.failureMessages ?? []).join('\n') };
  return result.status === 'passed' ? { name } : { name, skipped: 'skipped in user-mode-linux too' };
}
