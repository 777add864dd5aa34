// undici's package loads everything it can do (fetch, WebSocket, caches, proxies): 100 ms and 8 MB of which this
// client uses a part. The two modules below are that part; undici ships types only for the whole.
declare module 'undici/lib/dispatcher/pool.js' {
  import type { Pool } from 'undici';

  const constructor: typeof Pool;
  export default constructor;
}

declare module 'undici/lib/api/api-request.js' {
  import type { Dispatcher } from 'undici';

  const request: (this: Dispatcher, options: Dispatcher.RequestOptions) => Promise<Dispatcher.ResponseData>;
  export default request;
}
