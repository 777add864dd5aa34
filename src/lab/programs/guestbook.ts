import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { Program } from './program.ts';

/** The sample application; the image has both parts, the first argument says which. */
export const program: Program = async (args) => {
  const [part, ...rest] = args;
  switch (part) {
    case 'frontend':
      return (await import('./guestbook-frontend.ts')).program(rest);
    case 'api':
      return (await import('./guestbook-api.ts')).program(rest);
    default:
      throw new FlatnetError(`guestbook has no part "${part ?? ''}"`, {
        code: 'USAGE',
        hint: 'args: [frontend] or args: [api]',
      });
  }
};
