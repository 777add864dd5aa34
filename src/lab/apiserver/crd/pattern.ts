import { setFlagsFromString } from 'node:v8';

// kube-apiserver's expressions (RE2) take linear time. V8 backtracks, which an unlucky pattern makes endless; with this
// flag it goes over to its own linear engine after 50,000 steps back. That engine does not know the flag `u`.
setFlagsFromString('--enable-experimental-regexp-engine-on-excessive-backtracks');

const compiled = new Map<string, RegExp | undefined>();

/** The expression of a schema's `pattern`; undefined where it is none, which then restricts nothing. */
export function compilePattern(pattern: string): RegExp | undefined {
  if (!compiled.has(pattern)) {
    let expression: RegExp | undefined;
    try {
      expression = new RegExp(pattern, /\\p|[^\0-\x7F]/i.test(pattern) ? 'u' : '');
    } catch {
      // RE2 knows forms that JavaScript does not.
    }
    compiled.set(pattern, expression);
  }
  return compiled.get(pattern);
}
