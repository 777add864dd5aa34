import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { hostname } from 'node:os';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { logLine } from './program.ts';
import { socketText } from './socket-text.ts';

/** netexec's UDP server: `hostname`, `echo TEXT`, `clientip`. */
export class UdpResponder {
  readonly #socket: Socket;
  #serving = true;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('message', (message, from) => this.#answer(message, from));
    socket.on('error', (error) => logLine(`UDP: ${error.message}`));
  }

  /** Throws naming address, port and reason. */
  static async start(address: string, port: number): Promise<UdpResponder> {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.bind({ port, address, exclusive: true });
    try {
      await once(socket, 'listening');
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'LISTEN_FAILED';
      // A kernel without IPv6: the IPv4 wildcard instead.
      if (code === 'EAFNOSUPPORT' && address === '::') return UdpResponder.start('0.0.0.0', port);
      throw new FlatnetError(`netexec cannot listen on UDP ${address} port ${port}: ${code}`, { code });
    }
    logLine(`Started UDP server on port ${address} ${port}`);
    return new UdpResponder(socket);
  }

  get isServing(): boolean {
    return this.#serving;
  }

  close(): void {
    this.#serving = false;
    this.#socket.close();
  }

  #answer(message: Buffer, from: RemoteInfo): void {
    // agnhost too reads the whole message in lower case, what is echoed included.
    const text = message.toString('utf8').trim().toLowerCase();
    const client = socketText(from.address, from.port);
    if (text === 'hostname') this.#send(hostname(), from);
    else if (text.startsWith('echo ')) this.#send(text.slice('echo '.length), from);
    else if (text === 'clientip') this.#send(client, from);
    else if (text !== '') logLine(`Unknown UDP command received from ${client}: ${JSON.stringify(text)}`);
  }

  #send(text: string, to: RemoteInfo): void {
    this.#socket.send(text, to.port, to.address, (error) => {
      if (error !== null) logLine(`UDP answer to ${to.address} not sent: ${error.message}`);
    });
  }
}
