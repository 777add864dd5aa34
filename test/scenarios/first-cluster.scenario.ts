import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AGNHOST, clientPod, echoDeployment, eventually, Lab, service } from './lab-fixture.ts';

let lab: Lab;

beforeAll(async () => {
  lab = await Lab.up('first');
});

afterAll(async () => {
  await lab?.down();
});

async function curl(pod: string, url: string): Promise<string> {
  return lab.kubectl(['exec', pod, '--', 'curl', '-sS', '--max-time', '5', url]);
}

const words = (text: string): string[] => text.split(' ');

/** curl's options for a new connection per request and one line per answer. */
const CLOSE = '-H Connection:close -w \\n';

/** The distinct answers to `count` new connections. */
async function answers(pod: string, url: string, count: number): Promise<Set<string>> {
  const range = `${url}?n=[1-${count}]`;
  const text = await lab.kubectl(['exec', pod, '--', ...words(`curl -sS --max-time 20 ${CLOSE}`), range]);
  return new Set(text.split('\n').filter((line) => line !== ''));
}

/** Names of an application's pods that nobody is deleting. */
async function livePods(app: string): Promise<string[]> {
  const text = await lab.kubectl(['get', 'pods', '-l', `app=${app}`, '-o', 'json']);
  const list = JSON.parse(text) as { items: { metadata: { name: string; deletionTimestamp?: string } }[] };
  return list.items
    .filter((pod) => pod.metadata.deletionTimestamp === undefined)
    .map((pod) => pod.metadata.name);
}

describe('the first cluster', () => {
  test('three nodes are Ready within five seconds', async () => {
    expect(lab.upMs).toBeLessThan(5000);
    const text = await lab.kubectl(['get', 'nodes', '--no-headers']);
    expect(text.trim().split('\n')).toHaveLength(3);
    expect(text.match(/ Ready /g)).toHaveLength(3);
  });

  test('a pod on the first node reaches a pod on the third, which sees its real address', async () => {
    await lab.apply([
      clientPod('client', 'node-1'),
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'server' },
        spec: { nodeName: 'node-3', containers: [{ name: 'netexec', image: AGNHOST, args: ['netexec'] }] },
      },
    ]);
    await lab.kubectl(['wait', '--for=condition=Ready', 'pod/client', 'pod/server', '--timeout=30s']);
    const client = await lab.value('pod/client', '{.status.podIP}');
    const server = await lab.value('pod/server', '{.status.podIP}');
    const seen = await eventually(() => curl('client', `http://${server}:8080/clientip`));
    expect(seen.split(':')[0]).toBe(client);
  });

  test('ClusterIP, DNS name and NodePort are answered by all ready pods', async () => {
    await lab.apply([
      echoDeployment('echo', 3),
      service('echo', {
        type: 'NodePort',
        ports: [{ name: 'http', port: 80, targetPort: 'http', nodePort: 30180 }],
      }),
    ]);
    await lab.kubectl(['rollout', 'status', 'deployment/echo', '--timeout=60s']);
    const pods = new Set(await livePods('echo'));
    expect(pods.size).toBe(3);
    const clusterIp = await lab.value('service/echo', '{.spec.clusterIP}');
    expect(await answers('client', `http://${clusterIp}/hostname`, 60)).toEqual(pods);
    await eventually(() => curl('client', 'http://echo/hostname'), 30_000);
    expect(await answers('client', 'http://echo.default.svc.cluster.local/hostname', 60)).toEqual(pods);
    const node = await lab.value('node/node-2', '{.status.addresses[?(@.type=="InternalIP")].address}');
    const range = `http://${node}:30180/hostname?n=[1-60]`;
    const fromOutside = await lab.exec('outside', [...words(`curl -sS --max-time 10 ${CLOSE}`), range]);
    expect(new Set(fromOutside.trim().split('\n'))).toEqual(pods);
  });

  test('scaling to 5 and to 1 is followed within a second of the pods being there', async () => {
    const url = `http://${await lab.value('service/echo', '{.spec.clusterIP}')}/hostname`;
    for (const replicas of [5, 1]) {
      await lab.kubectl(['scale', 'deployment/echo', `--replicas=${replicas}`]);
      await lab.kubectl(['rollout', 'status', 'deployment/echo', '--timeout=60s']);
      const reported = Date.now();
      await eventually(async () => (await answers('client', url, 60)).size === replicas);
      expect(Date.now() - reported).toBeLessThan(1_000);
    }
  });

  test('deleting a pod fails no request', async () => {
    await lab.kubectl(['scale', 'deployment/echo', '--replicas=3']);
    await lab.kubectl(['rollout', 'status', 'deployment/echo', '--timeout=60s']);
    const url = `http://${await lab.value('service/echo', '{.spec.clusterIP}')}/hostname`;
    const load = words('exec client -- curl -sS --rate 200/s --max-time 5 --fail -o /dev/null');
    const codes = words('-H Connection:close -w %{http_code}\\n');
    const requests = lab.kubectl([...load, ...codes, `${url}?n=[1-1000]`]);
    const [first] = await livePods('echo');
    await lab.kubectl(['delete', 'pod', first ?? '', '--wait=false']);
    const answered = (await requests).trim().split('\n');
    expect(answered).toHaveLength(1000);
    expect(new Set(answered)).toEqual(new Set(['200']));
  });

  test('the sample application runs and keeps a message', async () => {
    await lab.kubectl(['apply', '-f', 'examples/guestbook/']);
    for (const name of (await lab.kubectl(['get', 'deployments', '-o', 'name'])).trim().split('\n')) {
      await lab.kubectl(['rollout', 'status', name, '--timeout=60s']);
    }
    const page = await curl('client', 'http://guestbook-frontend/');
    expect(page).toContain('<html');
  });
});
