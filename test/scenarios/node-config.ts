import { parse, stringify } from 'yaml';
import { eventually, type Lab } from './lab-fixture.ts';

const AGENT_CONFIG = '/etc/flatnet/agent.yaml';

/** Writes the proxy's mode into a node's configuration, as an operator does. */
async function writeProxyMode(lab: Lab, node: string, mode: string): Promise<void> {
  const config = parse(await lab.exec(node, ['cat', AGENT_CONFIG])) as { proxy?: object };
  const text = stringify({ ...config, proxy: { ...config.proxy, mode } });
  // At once, as a ConfigMap is: nobody reads half a file.
  const script = `printf %s "$1" > ${AGENT_CONFIG}.new && mv ${AGENT_CONFIG}.new ${AGENT_CONFIG}`;
  await lab.exec(node, ['sh', '-c', script, 'sh', text]);
}

/** Changes the mode of a node's running proxy, and waits until it is the other. */
export async function switchProxyMode(lab: Lab, node: string, mode: string): Promise<void> {
  await writeProxyMode(lab, node, mode);
  await eventually(async () => {
    const now = await lab.get(node, 'http://127.0.0.1:10249/proxyMode');
    if (now !== mode) throw new Error(`the proxy of ${node} is in mode ${now}, not ${mode}`);
    return true;
  });
}
