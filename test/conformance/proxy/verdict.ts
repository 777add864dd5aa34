/** Stand in the source, as tracers implement them; here is where tests look for them. */
export type { TracedNode, TracedPacket, Tracer, Verdict } from '../../../src/proxy/verdict.ts';
