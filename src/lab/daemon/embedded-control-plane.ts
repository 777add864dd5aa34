import { ApiClient } from '../../cluster/api-client.ts';
import type { Logger } from '../../log/logger.ts';
import { Cidr } from '../../net/cidr.ts';
import { ApiServer } from '../apiserver/api-server.ts';
import { startControllers } from '../controllers/controllers.ts';
import type { LabOptions } from '../state/lab-options.ts';
import { accessWith, ADMIN, API_PORT, CLUSTER_DOMAIN, type ControlPlane } from './control-plane.ts';

const NODE_PREFIX = { 4: 24, 6: 64 } as const;

/** API server and controllers inside of this process; `loopbackFd` is a listening socket of the host. */
export async function startEmbedded(
  options: LabOptions,
  apiAddress: string,
  loopbackFd: number,
  logger: Logger,
): Promise<ControlPlane> {
  const serviceCidrs = [options.serviceCidr, ...(options.ipv6 ? [options.serviceCidrV6] : [])];
  const podCidrs = [options.podCidr, ...(options.ipv6 ? [options.podCidrV6] : [])].map((text) => {
    const range = Cidr.parse(text);
    return { range, nodePrefixLength: NODE_PREFIX[range.family] };
  });
  const api = await ApiServer.start({
    listen: [{ host: apiAddress, port: API_PORT }, { fd: loopbackFd }],
    advertise: { host: apiAddress, port: API_PORT },
    serviceCidrs,
    clusterDomain: CLUSTER_DOMAIN,
    logger,
  });
  const certificateAuthority = api.authority.certificate;
  const server = `https://${apiAddress}:${API_PORT}`;
  const access = accessWith(
    server,
    certificateAuthority,
    api.issueClientCertificate(ADMIN.user, ADMIN.groups),
  );
  return {
    certificateAuthority,
    access,
    server,
    clientCertificate: (user, groups) => api.issueClientCertificate(user, groups),
    servingCertificate: (name, addresses) =>
      api.authority.issue({
        commonName: `system:node:${name}`,
        usage: 'server',
        names: [name, ...addresses],
      }),
    runControllers: async (signal) => {
      const client = new ApiClient(access, 'flatnet-controllers');
      await startControllers(client, { podCidrs, rootCertificate: certificateAuthority, logger }, signal);
    },
    stop: async () => api.close(),
  };
}
