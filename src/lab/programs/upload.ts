import { randomBytes } from 'node:crypto';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';

/** Writes the field `file` of a multipart form into `folder`; returns the file's path. Throws when it cannot. */
export async function storeUpload(request: IncomingMessage, folder: string): Promise<string> {
  const type = request.headers['content-type'] ?? '';
  const form = await new Response(Readable.toWeb(request) as ReadableStream, {
    headers: { 'content-type': type },
  }).formData();
  const file = form.get('file');
  if (file === null || typeof file === 'string') throw new Error('the form has no field "file"');
  await mkdir(folder, { recursive: true });
  const path = join(folder, `upload${randomBytes(5).toString('hex')}`);
  await writeFile(path, Buffer.from(await file.arrayBuffer()), { flag: 'wx' });
  await chmod(path, 0o700);
  return path;
}
