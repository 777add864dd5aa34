/** What the mode does otherwise than the others, and why. kube-proxy's ipvs mode does all of it, too. */
export const IPVS_LIMITS = {
  'external-local-short-circuit':
    'externalTrafficPolicy Local with endpoints on the node: pods and the node itself reach those only, not all, as a virtual server has one list of real servers for everybody; without endpoints on the node they reach all',
  'host-addresses':
    'every service address is an address of the node (on kube-ipvs0): it answers ping, and what the node itself sends to a Service without a source address of its own has the service address as its source',
  'scheduler-order':
    'connections are spread by the scheduler (round robin), not at random: equal shares, in an order',
  'affinity-by-address':
    'affinity is by virtual server: a client may have another endpoint at each address of a Service',
  'affinity-renewed':
    'affinity counts from the end of the last connection, not from its beginning, and after a real server was taken out',
} as const;
