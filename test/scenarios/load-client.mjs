// Calls a Service: new connections at a steady rate, one request on each, and some connections that stay and talk.
// Arguments: address, port, connections a second, connections that stay. Prints a line when it begins; ends when its
// standard input does, and prints one JSON object. Speaks HTTP by hand: with Node's own client a core is busy at a
// thousand connections a second.
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const [host = '', port = '80', rate = '100', held = '0'] = process.argv.slice(-4);
const REQUEST_TIMEOUT_MS = 10_000;
const TALK_EVERY_MS = 50;

const began = performance.now();
const times = [];
const failures = [];
let ending = false;
process.stdin.resume().on('end', () => (ending = true));

/** How many SYNs this network namespace has sent again, for want of an answer. */
function repeatedSyns() {
  const [names, values] = readFileSync('/proc/net/netstat', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('TcpExt:'))
    .map((line) => line.split(' '));
  return Number(values[names.indexOf('TCPSynRetrans')]);
}

const requestText = (connection) => `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: ${connection}\r\n\r\n`;
const describe = (at, error) => `${((at - began) / 1000).toFixed(2)} s: ${error.code ?? error.message}`;

/** The body of a whole answer with status 200; undefined while a part is missing; throws for another status. */
function bodyOf(text) {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  if (!text.startsWith('HTTP/1.1 200 ')) throw new Error(text.slice(0, text.indexOf('\r\n')));
  const length = Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1]);
  return text.length >= end + 4 + length ? text.slice(end + 4, end + 4 + length) : undefined;
}

/** Sends the request on a connection and waits for the answer. */
function ask(socket, connection) {
  return new Promise((resolve, reject) => {
    let text = '';
    const done = (settle, value) => {
      clearTimeout(timer);
      socket.removeAllListeners('data').removeAllListeners('error').removeAllListeners('end');
      settle(value);
    };
    const timer = setTimeout(() => done(reject, new Error('no answer')), REQUEST_TIMEOUT_MS);
    socket.on('error', (error) => done(reject, error));
    socket.on('end', () => done(reject, new Error('closed before the answer')));
    socket.on('data', (chunk) => {
      text += chunk;
      try {
        const body = bodyOf(text);
        if (body !== undefined) done(resolve, body);
      } catch (error) {
        done(reject, error);
      }
    });
    socket.write(requestText(connection));
  });
}

async function askOnce() {
  const started = performance.now();
  let connectedAt = started;
  const socket = connect(
    { host, port: Number(port), noDelay: true },
    () => (connectedAt = performance.now()),
  );
  try {
    await ask(socket, 'close');
    times.push(performance.now() - started);
  } catch (error) {
    failures.push(describe(started, error));
  }
  socket.on('error', () => {}).destroy();
}

/** Talks over one connection until the end. */
async function hold() {
  const socket = connect({ host, port: Number(port), noDelay: true });
  const pods = new Set();
  let requests = 0;
  try {
    while (!ending) {
      pods.add(await ask(socket, 'keep-alive'));
      requests += 1;
      await sleep(TALK_EVERY_MS);
    }
    return { requests, pods: [...pods] };
  } catch (error) {
    return { requests, pods: [...pods], error: describe(performance.now(), error) };
  } finally {
    socket.on('error', () => {}).destroy();
  }
}

const staying = Array.from({ length: Number(held) }, () => hold());
const asked = [];
const repeatedBefore = repeatedSyns();
process.stdout.write('begun\n');
while (!ending) {
  const due = Math.floor(((performance.now() - began) / 1000) * Number(rate));
  while (asked.length < due) asked.push(askOnce());
  await sleep(2);
}
await Promise.all(asked);
const elapsedMs = performance.now() - began;
times.sort((a, b) => a - b);
const result = {
  requests: asked.length,
  answered: times.length,
  perSecond: Math.round((times.length / elapsedMs) * 1000),
  p50Ms: times[times.length >> 1],
  p99Ms: times[Math.floor(times.length * 0.99)],
  maxMs: times.at(-1),
  lostSyns: repeatedSyns() - repeatedBefore,
  failures: failures.length,
  firstFailures: failures.slice(0, 10),
  held: await Promise.all(staying),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit(0);
