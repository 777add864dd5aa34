import type { IncomingMessage } from 'node:http';
import { parse as parseYaml } from 'yaml';
import { type Json, type JsonObject, isObject } from '../json/json.ts';
import { badRequest, StatusError } from '../json/status-error.ts';
import { decodeProtobuf } from '../schema/protobuf-decoder.ts';
import { checkNesting, checkYamlNesting } from './nesting.ts';

/** kube-apiserver's own limit of a request body. */
const MAX_BODY_BYTES = 3 * 1024 * 1024;

/** Reads a body up to the limit; 413 past it. */
export async function readBody(request: IncomingMessage, limit = MAX_BODY_BYTES): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit) {
      throw new StatusError(
        413,
        'RequestEntityTooLarge',
        `Request entity too large: limit is ${limit} bytes`,
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The media type without parameters, lower case; JSON where the client names none. */
export function mediaType(request: IncomingMessage): string {
  return (request.headers['content-type'] ?? 'application/json').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}

/** Parses JSON, YAML or Kubernetes protobuf by the media type; 400 for malformed text, 415 for other types. */
export function parseBody(bytes: Buffer, type: string): Json {
  if (type === 'application/vnd.kubernetes.protobuf') {
    const object = decodeProtobuf(bytes);
    checkNesting(object);
    return object;
  }
  const text = bytes.toString('utf8');
  if (type.endsWith('json') || type === '*/*' || type === '') return parseJson(text);
  if (type.endsWith('yaml')) return parseYamlText(text);
  throw new StatusError(
    415,
    'UnsupportedMediaType',
    `the body of the request was in an unknown format (${type}) - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf`,
  );
}

function parseJson(text: string): Json {
  const value = readJson(text, (error) => {
    throw badRequest(`the object provided is unrecognized (must be valid JSON): ${messageOf(error)}`);
  });
  checkNesting(value);
  return value;
}

function readJson<T>(text: string, onMalformed: (error: unknown) => T): Json | T {
  try {
    return JSON.parse(text) as Json;
  } catch (error) {
    return onMalformed(error);
  }
}

function parseYamlText(text: string): Json {
  // JSON is YAML: kubectl says YAML of what it applies and sends JSON, which is read far quicker as such.
  const json = text.trimStart().startsWith('{') ? readJson(text, () => undefined) : undefined;
  const value = json ?? readYaml(text);
  checkNesting(value);
  return value;
}

function readYaml(text: string): Json {
  checkYamlNesting(text);
  try {
    // Aliases are bounded by the library; merge keys are what kubectl's users write.
    return parseYaml(text, { merge: true }) as Json;
  } catch (error) {
    throw badRequest(`error converting YAML to JSON: ${messageOf(error)}`);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** As parseBody, for bodies that must be an object. */
export function parseObjectBody(bytes: Buffer, type: string): JsonObject {
  const body = parseBody(bytes, type);
  if (!isObject(body)) throw badRequest('the body of the request is not an object');
  return body;
}
