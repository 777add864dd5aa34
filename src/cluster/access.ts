/** Proof of identity as sent with a request; certificates are part of the connection. */
export interface Credentials {
  /** Bearer token, or user and password already encoded: the value of the header Authorization. */
  readonly authorization?: string | undefined;
  /** PEM of the client certificate and its key. */
  readonly certificate?: string | undefined;
  readonly key?: string | undefined;
}

/** How an API server is reached: from a kubeconfig or from inside of a pod. */
export interface ClusterAccess {
  /** `https://10.0.0.1:6443`, with a path where the server stands behind one. */
  readonly server: string;
  /** PEM of the certificate authorities; the system's own when absent. */
  readonly certificateAuthority?: string | undefined;
  readonly insecureSkipTlsVerify?: boolean | undefined;
  /** Name to verify in the server's certificate in place of the host of `server`. */
  readonly tlsServerName?: string | undefined;
  /** The namespace of the kubeconfig's context or of the pod; `default` when none is named. */
  readonly namespace: string;
  /** Cached while valid; `refresh` asks anew, after the server has refused the last ones with 401. */
  credentials(refresh: boolean): Promise<Credentials>;
}
