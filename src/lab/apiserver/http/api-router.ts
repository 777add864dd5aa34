import type { ApiDiscovery } from '../discovery/api-discovery.ts';
import { SERVER_VERSION } from '../discovery/server-version.ts';
import { noSuchPath } from '../json/status-error.ts';
import type { OpenApi } from '../openapi/open-api.ts';
import { OPEN_API_V2_PROTOBUF, openApiV2 } from '../openapi/open-api-v2.ts';
import { parseResourcePath } from '../rest/request-info.ts';
import type { ResourceHandler } from '../rest/resource-handler.ts';
import type { ResourceRegistry } from '../rest/resource-registry.ts';
import type { SubresourceHandler } from '../rest/subresource-handler.ts';
import { type Call, sendJson, sendText } from './call.ts';

/** Sends a call to who answers it. */
export class ApiRouter {
  readonly #registry: ResourceRegistry;
  readonly #discovery: ApiDiscovery;
  readonly #openApi: OpenApi;
  readonly #resources: ResourceHandler;
  readonly #subresources: SubresourceHandler;

  constructor(
    registry: ResourceRegistry,
    discovery: ApiDiscovery,
    openApi: OpenApi,
    resources: ResourceHandler,
    subresources: SubresourceHandler,
  ) {
    this.#registry = registry;
    this.#discovery = discovery;
    this.#openApi = openApi;
    this.#resources = resources;
    this.#subresources = subresources;
  }

  async route(call: Call): Promise<void> {
    if (this.#routeFixed(call)) return;
    const path = parseResourcePath(call.path);
    if (path === undefined) return this.#routeDiscovery(call);
    if (await this.#subresources.handle(call, path)) return;
    const definition = this.#registry.find(path.group, path.version, path.resource);
    const known =
      path.subresource === undefined || (path.subresource === 'status' && definition?.hasStatus === true);
    if (definition === undefined || !known) throw noSuchPath();
    if (path.namespace !== '' && !definition.namespaced) throw noSuchPath();
    await this.#resources.handle(call, definition, path);
  }

  #routeFixed(call: Call): boolean {
    switch (call.path) {
      case '/healthz':
      case '/livez':
      case '/readyz':
        sendText(call.response, 200, 'ok', 'text/plain; charset=utf-8');
        return true;
      case '/version':
      case '/version/':
        sendJson(call, 200, SERVER_VERSION);
        return true;
      case '/': {
        const paths = [
          '/api',
          '/api/v1',
          '/apis',
          '/healthz',
          '/livez',
          '/openapi/v3',
          '/readyz',
          '/version',
        ];
        sendJson(call, 200, { paths });
        return true;
      }
      default:
        return false;
    }
  }

  #routeOpenApi(call: Call): boolean {
    if (call.path === '/openapi/v3') {
      sendJson(call, 200, this.#openApi.index());
      return true;
    }
    if (call.path === '/openapi/v2') {
      sendText(call.response, 200, openApiV2(this.#registry), OPEN_API_V2_PROTOBUF);
      return true;
    }
    if (!call.path.startsWith('/openapi/v3/')) return false;
    const document = this.#openApi.document(call.path.slice('/openapi/v3/'.length));
    if (document === undefined) return false;
    sendText(call.response, 200, document);
    return true;
  }

  #routeDiscovery(call: Call): void {
    if (this.#routeOpenApi(call)) return;
    const [root, ...parts] = call.path.split('/').filter((part) => part !== '');
    if (root === 'api' || root === 'apis') {
      const answer = this.#discoveryAnswer(call, root, parts);
      if (answer) return;
    }
    throw noSuchPath();
  }

  #discoveryAnswer(call: Call, root: 'api' | 'apis', parts: readonly string[]): boolean {
    if (parts.length === 0) {
      this.#sendGroups(call, root);
      return true;
    }
    const [first = '', second] = parts;
    const body =
      root === 'api'
        ? this.#discovery.resourceList('', first)
        : second === undefined
          ? this.#discovery.group(first)
          : this.#discovery.resourceList(first, second);
    if (body === undefined) return false;
    sendJson(call, 200, body);
    return true;
  }

  #sendGroups(call: Call, root: 'api' | 'apis'): void {
    const accept = call.request.headers.accept ?? '';
    const match = /application\/json;g=apidiscovery\.k8s\.io;v=(v2beta1|v2);as=APIGroupDiscoveryList/.exec(
      accept,
    );
    if (match === null) {
      sendJson(call, 200, root === 'api' ? this.#discovery.coreVersions() : this.#discovery.groupList());
      return;
    }
    const version = match[1] === 'v2' ? 'v2' : 'v2beta1';
    const text = JSON.stringify(this.#discovery.aggregated(root, version));
    sendText(
      call.response,
      200,
      text,
      `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`,
    );
  }
}
