import { pino, type Logger as PinoLogger } from 'pino';

export type Logger = PinoLogger;

/**
 * Structured log lines (JSON, one a line) on standard error, so that standard output stays free for data.
 * Level from `level`, else the environment variable FLATNET_LOG_LEVEL, else `info`.
 */
export function createLogger(name: string, level?: string): Logger {
  return pino(
    {
      name,
      level: level ?? process.env['FLATNET_LOG_LEVEL'] ?? 'info',
      base: { name },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}
