import { type Json, type JsonObject, isObject, objectsAt } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';

// extensions/v1beta1 named a backend `serviceName` and `servicePort` where networking.k8s.io/v1 has
// `service: {name, port: {number | name}}`, `spec.backend` for `spec.defaultBackend`, and let pathType be absent.

function portToOld(port: Json | undefined): Json {
  if (!isObject(port)) return 0;
  return port['name'] ?? port['number'] ?? 0;
}

function backendToOld(backend: JsonObject): JsonObject {
  const service = backend['service'];
  if (!isObject(service)) return backend;
  return { serviceName: service['name'] ?? '', servicePort: portToOld(service['port']) };
}

function backendToNew(backend: JsonObject): JsonObject {
  if (backend['serviceName'] === undefined) return backend;
  const port = backend['servicePort'];
  return {
    service: {
      name: backend['serviceName'],
      port: typeof port === 'string' ? { name: port } : { number: port ?? 0 },
    },
  };
}

function mapPaths(spec: JsonObject, change: (path: JsonObject) => void): void {
  for (const rule of objectsAt(spec, 'rules')) {
    for (const path of objectsAt(rule, 'http', 'paths')) change(path);
  }
}

function changeBackend(
  holder: JsonObject,
  member: string,
  convert: (backend: JsonObject) => JsonObject,
): void {
  const backend = holder[member];
  if (isObject(backend)) holder[member] = convert(backend);
}

/** extensions/v1beta1 Ingress as another view of networking.k8s.io/v1. */
export const convertLegacyIngress = {
  fromStorage(object: KubeObject): KubeObject {
    object.apiVersion = 'extensions/v1beta1';
    const spec = object['spec'];
    if (!isObject(spec)) return object;
    changeBackend(spec, 'defaultBackend', backendToOld);
    if (spec['defaultBackend'] !== undefined) {
      spec['backend'] = spec['defaultBackend'];
      delete spec['defaultBackend'];
    }
    mapPaths(spec, (path) => changeBackend(path, 'backend', backendToOld));
    return object;
  },

  toStorage(object: KubeObject): KubeObject {
    object.apiVersion = 'networking.k8s.io/v1';
    const spec = object['spec'];
    if (!isObject(spec)) return object;
    if (spec['backend'] !== undefined) {
      spec['defaultBackend'] = spec['backend'];
      delete spec['backend'];
    }
    changeBackend(spec, 'defaultBackend', backendToNew);
    mapPaths(spec, (path) => {
      changeBackend(path, 'backend', backendToNew);
      path['pathType'] ??= 'ImplementationSpecific';
    });
    return object;
  },
};
