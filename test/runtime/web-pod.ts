import type { CriClient, PodWish } from './cri-client.ts';

export interface WebPod {
  readonly id: string;
  readonly container: string;
  readonly addresses: readonly string[];
}

/** A pod whose container answers every GET on port 80 with the pod's name. */
export async function webPod(cri: CriClient, wish: PodWish): Promise<WebPod> {
  const id = await cri.runPod(wish);
  const serve = 'echo "$0" > /tmp/index.html; exec httpd -f -p 80 -h /tmp';
  const container = await cri.runContainer(id, wish, 'web', ['/bin/sh', '-c', serve, wish.name]);
  await cri.exec(
    container,
    '/bin/sh',
    '-c',
    'until wget -q -O /dev/null http://127.0.0.1/; do sleep 0.02; done',
  );
  return { id, container, addresses: await cri.addresses(id) };
}
