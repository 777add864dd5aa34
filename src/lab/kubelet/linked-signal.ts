/** A controller that is aborted with its parent; it leaves no listener on the parent when it is aborted first. */
export function linkSignal(parent: AbortSignal): AbortController {
  const controller = new AbortController();
  if (parent.aborted) controller.abort();
  const follow = (): void => controller.abort();
  parent.addEventListener('abort', follow, { once: true });
  controller.signal.addEventListener('abort', () => parent.removeEventListener('abort', follow), {
    once: true,
  });
  return controller;
}
