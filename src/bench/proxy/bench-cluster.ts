import { FlatnetError } from '../../errors/flatnet-error.ts';
import { SERVICES_PATH, SLICES_PATH, type Collection } from './recorded-api.ts';
import { RECORDED_SERVICE, RECORDED_SLICE } from './recorded-messages.ts';
import { recordedService, recordedSlice, serviceKey } from './recorded-objects.ts';

/** One pod in place of another, one more, the last one gone, one in place of all. */
export type ChangeKind = 'replace' | 'add' | 'remove' | 'only';

export interface Change {
  readonly kind: ChangeKind;
  /** Which Service. */
  readonly index: number;
  /** All its pods after the change. */
  readonly pods: readonly number[];
  /** The pod that came or went: its number and its place in the list. */
  readonly pod: number;
  readonly place: number;
}

/** Services and their pods, as they are told to the proxy. */
export class BenchCluster {
  /** Of each Service the numbers of its pods. */
  readonly pods: readonly (readonly number[])[];
  readonly #pods: number[][];
  #nextPod: number;
  #resourceVersion = 1_000_000;

  constructor(services: number, endpoints: number) {
    this.#pods = Array.from({ length: services }, (_, index) =>
      Array.from({ length: endpoints }, (_, pod) => index * endpoints + pod),
    );
    this.pods = this.#pods;
    this.#nextPod = services * endpoints;
  }

  collections(): Collection[] {
    const byName = (text: (index: number) => string): Map<string, string> =>
      new Map(this.#pods.map((_, index) => [serviceKey(index), text(index)]));
    return [
      {
        path: SERVICES_PATH,
        listKind: 'ServiceList',
        message: RECORDED_SERVICE,
        objects: byName((index) => JSON.stringify(recordedService(index))),
      },
      {
        path: SLICES_PATH,
        listKind: 'EndpointSliceList',
        message: RECORDED_SLICE,
        objects: byName((index) => JSON.stringify(recordedSlice(index, this.#pods[index] ?? [], index + 1))),
      },
    ];
  }

  /** The EndpointSlice of a Service as it is now. */
  slice(index: number): string {
    this.#resourceVersion += 1;
    return JSON.stringify(recordedSlice(index, this.#pods[index] ?? [], this.#resourceVersion));
  }

  /** The n-th change: each kind has its turn at a Service before the next one is changed. */
  change(number: number, kinds: readonly ChangeKind[]): Change {
    const kind = kinds[number % kinds.length] ?? 'replace';
    // Spread over all Services; 7919 is prime, so that every Service has its turn.
    const index = (Math.floor(number / kinds.length) * 7919) % this.#pods.length;
    const pods = this.#pods[index] ?? [];
    const [pod, place] = this.#alter(pods, kind);
    return { kind, index, pods: [...pods], pod, place };
  }

  #alter(pods: number[], kind: ChangeKind): [pod: number, place: number] {
    if (kind === 'remove') {
      const gone = pods.pop();
      if (gone !== undefined && pods.length > 0) return [gone, pods.length];
      throw new FlatnetError('a pod is to be removed of a Service that has only one', {
        code: 'BENCH_SCALE',
      });
    }
    const pod = this.#nextPod;
    this.#nextPod += 1;
    if (kind === 'only') pods.length = 0;
    const place = kind === 'replace' ? Math.floor(pods.length / 2) : pods.length;
    pods[place] = pod;
    return [pod, place];
  }
}

export function wrongInKernel(what: string): FlatnetError {
  return new FlatnetError(`the kernel holds ${what}`, { code: 'BENCH_WRONG_RESULT' });
}
