import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { signCertificate, type Subject } from './certificate.ts';

/** A certificate and its private key, both PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

export interface LeafOptions extends Subject {
  readonly usage: 'server' | 'client' | 'server-and-client';
  /** DNS names and IP addresses that a server certificate is valid for. */
  readonly names?: readonly string[];
}

const HOUR_MS = 3_600_000;
const YEAR_MS = 365 * 24 * HOUR_MS;

/** Signs the certificates of one cluster: API server, kubelets, clients. EC P-256, ten years. */
export class CertificateAuthority {
  /** PEM of the authority's own certificate: `certificate-authority-data` before base64. */
  readonly certificate: string;
  readonly #key: KeyObject;
  readonly #subject: Subject;

  private constructor(certificate: string, key: KeyObject, subject: Subject) {
    this.certificate = certificate;
    this.#key = key;
    this.#subject = subject;
  }

  /** A new self-signed authority. */
  static create(commonName = 'flatnet-ca'): CertificateAuthority {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const subject = { commonName };
    const certificate = signCertificate({
      subject,
      issuer: subject,
      publicKey,
      issuerPublicKey: publicKey,
      issuerKey: privateKey,
      usage: 'authority',
      ...validity(),
    });
    return new CertificateAuthority(certificate, privateKey, subject);
  }

  /** An authority from what `certificate` and `exportKey()` gave earlier. */
  static load(pair: KeyPair, commonName = 'flatnet-ca'): CertificateAuthority {
    return new CertificateAuthority(pair.certificate, createPrivateKey(pair.key), { commonName });
  }

  /** PEM of the authority's private key; keep it 0600. */
  exportKey(): string {
    return exportKey(this.#key);
  }

  /** A new key and a certificate for it. */
  issue(options: LeafOptions): KeyPair {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const certificate = signCertificate({
      subject: options,
      issuer: this.#subject,
      publicKey,
      issuerPublicKey: createPublicKey(this.#key),
      issuerKey: this.#key,
      usage: options.usage,
      ...(options.names === undefined ? {} : { names: options.names }),
      ...validity(),
    });
    return { certificate, key: exportKey(privateKey) };
  }
}

function validity(): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  // One hour back: clients whose clock is a little behind must accept it too.
  return { notBefore: new Date(now - HOUR_MS), notAfter: new Date(now + 10 * YEAR_MS) };
}

function exportKey(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}
