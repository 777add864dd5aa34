/** A message as it goes over TCP: behind its length in two octets (RFC 1035 section 4.2.2). */
export function frame(message: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(2 + message.length);
  framed.writeUInt16BE(message.length, 0);
  message.copy(framed, 2);
  return framed;
}

/** Cuts a TCP stream back into messages, however the segments fell. */
export class StreamFrames {
  #pending: Buffer = Buffer.alloc(0);

  /** Takes the next octets; returns the messages that are complete now. */
  push(chunk: Buffer): Buffer[] {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    const messages: Buffer[] = [];
    while (this.#pending.length >= 2) {
      const end = 2 + this.#pending.readUInt16BE(0);
      if (this.#pending.length < end) break;
      messages.push(this.#pending.subarray(2, end));
      this.#pending = this.#pending.subarray(end);
    }
    return messages;
  }
}
