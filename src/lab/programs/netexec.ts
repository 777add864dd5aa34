import { EventEmitter } from 'node:events';
import { createServer as createHttpServer, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { readFile } from 'node:fs/promises';
import { sleep } from '../../timing/backoff.ts';
import { Flags } from './flags.ts';
import { drain, listenOn } from './http-program.ts';
import { NetexecHandler, type ExitRequest } from './netexec-handler.ts';
import { UdpResponder } from './netexec-udp.ts';
import { logLine, terminationSignal, type Program } from './program.ts';

/** A pod has 30 seconds unless it says otherwise; the kubelet ends what takes longer. */
const DRAIN_MS = 25_000;

/**
 * agnhost's netexec (kubernetes/kubernetes, test/images/agnhost/netexec): HTTP and UDP servers that tell who
 * they are and who asks, and that dial others when told to. After SIGTERM requests in work are finished.
 */
export const program: Program = async (args) => {
  const flags = Flags.parse(
    'netexec',
    [
      { name: 'http-port', kind: 'integer', fallback: 8080 },
      { name: 'udp-port', kind: 'integer', fallback: 8081 },
      { name: 'sctp-port', kind: 'integer', fallback: -1 },
      { name: 'tls-cert-file', kind: 'text', fallback: '' },
      { name: 'tls-private-key-file', kind: 'text', fallback: '' },
      { name: 'http-override', kind: 'text', fallback: '' },
      { name: 'udp-listen-addresses', kind: 'text', fallback: '' },
      { name: 'delay-shutdown', kind: 'integer', fallback: 0 },
    ],
    args,
  );
  const responders = await startUdp(flags);
  const exits = new EventEmitter<{ exit: [ExitRequest] }>();
  const handler = new NetexecHandler({
    // Without a UDP server agnhost is never healthy; here the HTTP server alone counts then.
    isReady: () => responders.every((responder) => responder.isServing),
    exit: (request) => exits.emit('exit', request),
    override: flags.text('http-override'),
  });
  const server = await createServer(flags, handler);
  const port = flags.integer('http-port');
  await listenOn(server, port, 'netexec');
  logLine(`Started HTTP server on port ${port}`);
  const end = await Promise.race([exitAsked(exits), terminated(flags.integer('delay-shutdown'))]);
  await drain(server, end.timeoutMs);
  for (const responder of responders) responder.close();
  return end.code;
};

async function exitAsked(exits: EventEmitter<{ exit: [ExitRequest] }>): Promise<ExitRequest> {
  return new Promise((resolve) => exits.once('exit', resolve));
}

async function createServer(flags: Flags, handler: NetexecHandler): Promise<Server> {
  const certificateFile = flags.text('tls-cert-file');
  if (certificateFile === '') return createHttpServer(handler.handle);
  const [cert, key] = await Promise.all([
    readFile(certificateFile),
    readFile(flags.text('tls-private-key-file')),
  ]);
  return createHttpsServer({ cert, key }, handler.handle);
}

async function startUdp(flags: Flags): Promise<UdpResponder[]> {
  if (flags.integer('sctp-port') !== -1) logLine('SCTP is not served: --sctp-port is ignored');
  const port = flags.integer('udp-port');
  if (port === -1) return [];
  const listed = flags.text('udp-listen-addresses');
  const addresses = listed === '' ? ['::'] : [...new Set(listed.split(','))];
  return Promise.all(addresses.map(async (address) => UdpResponder.start(address, port)));
}

async function terminated(delaySeconds: number): Promise<ExitRequest> {
  const signal = await terminationSignal();
  logLine(`Received ${signal}, shutting down in ${delaySeconds} seconds`);
  // Still serving: connections that were on their way here when the pod was taken out of its Services.
  await sleep(delaySeconds * 1000);
  return { code: 0, timeoutMs: DRAIN_MS };
}
