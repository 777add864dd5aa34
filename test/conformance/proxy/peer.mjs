// One host of the conformance network: answers on its ports with its name and the caller's address, and calls others
// when told to (one JSON request a line on standard input, one JSON answer a line on standard output).
import dgram from 'node:dgram';
import net from 'node:net';
import { createInterface } from 'node:readline';

const [name, ...ports] = process.argv.slice(2);
const plain = (address) => address.replace(/^::ffff:/, '');

const servers = ports.flatMap((port) => {
  const tcp = net.createServer((socket) => {
    socket.on('error', () => {});
    // RFC 862, with the name in front.
    if (port === '7') socket.on('data', (data) => socket.write(`${name} ${data}`));
    else socket.end(`${name} ${plain(socket.remoteAddress ?? '')}`);
  });
  const udp = dgram.createSocket({ type: 'udp6', ipv6Only: false });
  udp.on('message', (_, from) => udp.send(`${name} ${plain(from.address)}`, from.port, from.address));
  return [
    new Promise((resolve) => tcp.listen(Number(port), '::', 1024, resolve)),
    new Promise((resolve) => udp.bind(Number(port), '::', resolve)),
  ];
});

function callTcp({ host, port, timeoutMs }) {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port });
    const timer = setTimeout(() => done({ error: 'ETIMEDOUT' }), timeoutMs);
    let text = '';
    const done = (result) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    socket.on('data', (data) => (text += data));
    socket.on('end', () => done({ reply: text }));
    socket.on('error', (error) => done({ error: error.code }));
  });
}

const heldConnections = new Map();

/** Says something on the connection of that name, which is made at the first call, and waits for the echo. */
function callHeld({ host, port, timeoutMs, connection }) {
  const socket = heldConnections.get(connection) ?? net.connect({ host, port });
  heldConnections.set(connection, socket);
  return new Promise((resolve) => {
    const timer = setTimeout(() => done({ error: 'ETIMEDOUT' }), timeoutMs);
    const onData = (data) => done({ reply: data.toString() });
    const onError = (error) => done({ error: error.code });
    const done = (result) => {
      clearTimeout(timer);
      socket.off('data', onData);
      socket.off('error', onError);
      resolve(result);
    };
    socket.on('data', onData);
    socket.on('error', onError);
    socket.write('hello');
  });
}

const udpSockets = new Map();

/** A connected socket: only such a one is told of ICMP errors. */
async function udpSocket(host, port, localPort) {
  const socket = dgram.createSocket(net.isIPv6(host) ? 'udp6' : 'udp4');
  await new Promise((resolve) => socket.bind(localPort ?? 0, resolve));
  await new Promise((resolve) => socket.connect(port, host, resolve));
  return socket;
}

/** With `localPort` the same socket is used again: the same flow, as a resolver or a syslog client has it. */
async function callUdp({ host, port, timeoutMs, localPort }) {
  const socket = udpSockets.get(localPort) ?? (await udpSocket(host, port, localPort));
  if (localPort !== undefined) udpSockets.set(localPort, socket);
  return new Promise((resolve) => {
    const timer = setTimeout(() => done({ error: 'ETIMEDOUT' }), timeoutMs);
    const onMessage = (data) => done({ reply: data.toString() });
    const onError = (error) => done({ error: error.code });
    const done = (result) => {
      clearTimeout(timer);
      socket.off('message', onMessage);
      socket.off('error', onError);
      if (localPort === undefined) socket.close();
      resolve(result);
    };
    socket.on('message', onMessage);
    socket.on('error', onError);
    socket.send('hello', (error) => error && onError(error));
  });
}

await Promise.all(servers);
process.stdout.write('{"ready":true}\n');
for await (const line of createInterface({ input: process.stdin })) {
  const { id, ...request } = JSON.parse(line);
  const started = performance.now();
  const call = request.connection ? callHeld : request.protocol === 'UDP' ? callUdp : callTcp;
  void call(request).then((result) => {
    process.stdout.write(`${JSON.stringify({ id, ms: performance.now() - started, ...result })}\n`);
  });
}
process.exit(0);
