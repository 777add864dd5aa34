import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LineCutter } from './json-lines.ts';

test('lines come out whole, wherever the stream was cut', () => {
  const line = fc.string({ unit: 'grapheme' }).map((text) => JSON.stringify(text));
  fc.assert(
    fc.property(fc.array(line), fc.array(fc.nat(40)), (lines, cuts) => {
      const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''));
      const cutter = new LineCutter();
      const out: string[] = [];
      let start = 0;
      for (const cut of [...cuts, bytes.length]) {
        out.push(...cutter.push(bytes.subarray(start, start + cut)));
        start = Math.min(bytes.length, start + cut);
      }
      expect(out).toEqual(lines);
    }),
  );
});

test('a line of 20 MB in pieces of 1 KB costs a moment, not its square', () => {
  const cutter = new LineCutter();
  const piece = Buffer.alloc(1024, 'x');
  const began = performance.now();
  for (let i = 0; i < 20_000; i += 1) cutter.push(piece);
  expect(cutter.push(Buffer.from('\n'))[0]).toHaveLength(20_000 * 1024);
  expect(performance.now() - began).toBeLessThan(2000);
});
