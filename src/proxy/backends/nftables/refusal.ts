import { indexField } from '../../../kernel/nft/field.ts';

/** What becomes of packets to a service port without endpoints; data of `no-endpoint-services`. */
export const REFUSAL = {
  /** Nothing anywhere could answer: the client is told at once. */
  reject: indexField(0),
  /** Other nodes have endpoints: a load balancer tries there. */
  drop: indexField(1),
} as const;
