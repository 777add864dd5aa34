import { mediaType, parseObjectBody, readBody } from '../http/body.ts';
import { type Call, sendJson } from '../http/call.ts';
import { arrayAt, type JsonObject, numberAt, objectAt, stringAt, stringsAt } from '../json/json.ts';
import { kubeTime } from '../json/kube-object.ts';
import { badRequest, notFound } from '../json/status-error.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import type { ResourcePath } from '../rest/request-info.ts';
import { parseStored, storageKey } from '../store/stored-object.ts';
import type { ServiceAccountTokens } from './service-account-tokens.ts';

const DEFAULT_TOKEN_SECONDS = 3600;
/** kube-apiserver refuses shorter ones, and shortens longer ones. */
const MIN_TOKEN_SECONDS = 600;
const MAX_TOKEN_SECONDS = 2 ** 32;

async function reviewBody(call: Call): Promise<JsonObject> {
  return parseObjectBody(await readBody(call.request), mediaType(call.request));
}

/** Everybody who is let in may do everything: rules are stored, not enforced. */
export async function reviewAccess(call: Call): Promise<void> {
  const body = await reviewBody(call);
  sendJson(call, 201, {
    ...body,
    status: { allowed: true, reason: 'this server does not restrict authenticated users' },
  });
}

export async function reviewRules(call: Call): Promise<void> {
  const body = await reviewBody(call);
  const status: JsonObject = {
    resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }],
    nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
    incomplete: false,
  };
  sendJson(call, 201, { ...body, status });
}

/** `kubectl auth whoami`. */
export async function reviewSelf(call: Call): Promise<void> {
  const body = await reviewBody(call);
  const userInfo: JsonObject = { username: call.user.username, groups: [...call.user.groups] };
  sendJson(call, 201, { ...body, status: { userInfo } });
}

/** TokenReview: kubelets ask whose token it is. */
export async function reviewToken(call: Call, tokens: ServiceAccountTokens): Promise<void> {
  const body = await reviewBody(call);
  const user = tokens.authenticate(stringAt(body, 'spec', 'token') ?? '');
  const status: JsonObject =
    user === undefined
      ? { authenticated: false, error: 'invalid bearer token' }
      : {
          authenticated: true,
          user: { username: user.username, groups: [...user.groups], uid: user.uid },
          audiences: arrayAt(body, 'spec', 'audiences'),
        };
  sendJson(call, 201, { ...body, status });
}

/** serviceaccounts/x/token (TokenRequest). */
export async function requestToken(
  call: Call,
  accounts: ResourceDefinition,
  path: ResourcePath,
  tokens: ServiceAccountTokens,
): Promise<void> {
  const name = path.name ?? '';
  const stored = accounts.store.get(storageKey(path.namespace, name));
  if (stored === undefined) throw notFound('', 'serviceaccounts', name);
  const body = await reviewBody(call);
  const seconds = numberAt(body, 'spec', 'expirationSeconds') ?? DEFAULT_TOKEN_SECONDS;
  if (seconds < MIN_TOKEN_SECONDS)
    throw badRequest(
      'spec.expirationSeconds: Invalid value: may not specify a duration less than 10 minutes',
    );
  const bound = objectAt(body, 'spec', 'boundObjectRef');
  const issued = tokens.issue({
    namespace: path.namespace,
    name,
    uid: parseStored(stored).metadata.uid ?? '',
    audiences: stringsAt(body, 'spec', 'audiences'),
    expirationSeconds: Math.min(seconds, MAX_TOKEN_SECONDS),
    ...(bound?.['kind'] === 'Pod'
      ? { pod: { name: stringAt(bound, 'name') ?? '', uid: stringAt(bound, 'uid') ?? '' } }
      : {}),
  });
  sendJson(call, 201, {
    kind: 'TokenRequest',
    apiVersion: 'authentication.k8s.io/v1',
    metadata: { name, namespace: path.namespace, creationTimestamp: kubeTime(new Date()) },
    spec: { ...objectAt(body, 'spec'), expirationSeconds: seconds },
    status: { token: issued.token, expirationTimestamp: kubeTime(issued.expiration) },
  });
}
