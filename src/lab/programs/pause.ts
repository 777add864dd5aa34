import { logLine, terminationSignal } from './program.ts';

/** agnhost's pause: holds a pod open and does nothing. */
export async function program(): Promise<number> {
  logLine('Paused');
  // A pending signal handler alone does not keep the process alive.
  const alive = setInterval(() => undefined, 1 << 30);
  const signal = await terminationSignal();
  clearInterval(alive);
  logLine(`Shutting down, got signal: ${signal}`);
  return 0;
}
