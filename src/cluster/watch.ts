import type { Status } from 'kubernetes-types/meta/v1.js';
import { ApiError } from './api-error.ts';
import { LineCutter } from './json-lines.ts';
import type { KubeObject } from './kube-object.ts';
import { badJson, connectionError } from './transport.ts';

export interface WatchEvent<T extends KubeObject> {
  /** A bookmark carries nothing but the resourceVersion up to which everything has been told. */
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: T;
}

type Frame<T extends KubeObject> = WatchEvent<T> | { readonly type: 'ERROR'; readonly object: Status };

/** The events of a watch response; an event ERROR is thrown as ApiError (410 when the version is too old). */
export async function* readWatch<T extends KubeObject>(
  doing: string,
  body: AsyncIterable<Uint8Array>,
): AsyncGenerator<WatchEvent<T>> {
  const lines = new LineCutter();
  try {
    for await (const chunk of body) {
      for (const line of lines.push(chunk)) {
        const frame = parseFrame<T>(doing, line);
        if (frame.type === 'ERROR') throw new ApiError(doing, frame.object.code ?? 500, frame.object);
        yield frame;
      }
    }
  } catch (error) {
    throw connectionError(doing, 'the API server', error);
  }
}

function parseFrame<T extends KubeObject>(doing: string, line: string): Frame<T> {
  try {
    return JSON.parse(line) as Frame<T>;
  } catch (error) {
    throw badJson(doing, line, error);
  }
}
