import { ApiClient } from '../../cluster/api-client.ts';
import type { Logger } from '../../log/logger.ts';
import { ApiServer } from '../apiserver/api-server.ts';
import { startControllers } from '../controllers/controllers.ts';
import type { LabOptions } from '../state/lab-options.ts';
import { controllerSettings } from './controller-settings.ts';
import { accessWith, ADMIN, API_PORT, CLUSTER_DOMAIN, type ControlPlane } from './control-plane.ts';

/** API server and controllers inside of this process; `loopbackFd` is a listening socket of the host. */
export async function startEmbedded(
  options: LabOptions,
  apiAddress: string,
  loopbackFd: number,
  logger: Logger,
): Promise<ControlPlane> {
  const serviceCidrs = [options.serviceCidr, ...(options.ipv6 ? [options.serviceCidrV6] : [])];
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
      await startControllers(client, controllerSettings(options, certificateAuthority, logger), signal);
    },
    stop: async () => api.close(),
  };
}
