import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** A way to an etcd that can be cut, while others go on reaching it. */
export class Relay {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #isCut = false;

  private constructor(port: number) {
    this.#server = createServer((near) => {
      if (this.#isCut) {
        near.destroy();
        return;
      }
      const far = connect(port, '127.0.0.1');
      this.#pair(near, far);
      this.#pair(far, near);
      near.pipe(far).pipe(near);
    });
  }

  static async to(endpoint: string): Promise<Relay> {
    const relay = new Relay(Number(new URL(endpoint).port));
    relay.#server.listen(0, '127.0.0.1');
    await once(relay.#server, 'listening');
    return relay;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  cut(isCut: boolean): void {
    this.#isCut = isCut;
    if (isCut) for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut(true);
    const closed = once(this.#server, 'close');
    this.#server.close();
    await closed;
  }

  #pair(socket: Socket, other: Socket): void {
    this.#sockets.add(socket);
    // An etcd that is gone is what the client behind the relay has to see, not this process.
    socket.on('error', () => other.destroy());
    socket.once('close', () => {
      this.#sockets.delete(socket);
      other.destroy();
    });
  }
}
