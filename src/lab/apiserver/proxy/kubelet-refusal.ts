import type { IncomingMessage } from 'node:http';
import { StatusError } from '../json/status-error.ts';

/** As kube-apiserver: what a kubelet says beyond this is cut off. */
const MAX_CHARACTERS = 8192;

const REASONS: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
};

/** A kubelet's refusal, which is plain text, as the Status that kubectl shows the message of. */
export async function refusalOf(answer: IncomingMessage): Promise<StatusError> {
  const text = await textOf(answer);
  const status = answer.statusCode ?? 500;
  const message = text === '' ? `the kubelet answered with status ${status}` : text;
  return new StatusError(status, REASONS[status] ?? 'InternalError', message);
}

async function textOf(answer: IncomingMessage): Promise<string> {
  let text = '';
  answer.setEncoding('utf8');
  for await (const chunk of answer as AsyncIterable<string>) {
    text += chunk;
    if (text.length >= MAX_CHARACTERS) break;
  }
  return text.slice(0, MAX_CHARACTERS).trim();
}
