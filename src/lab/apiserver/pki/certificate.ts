import { createHash, type KeyObject, randomBytes, sign } from 'node:crypto';
import { Ip } from '../../../net/ip.ts';
import * as der from './der.ts';

// Written by hand on node:crypto: the X.509 libraries measured either make RSA keys only or take longer to
// load (165 ms) than the whole server takes to start.

/** Who a certificate is for. Kubernetes reads the user from the common name, the groups from organizations. */
export interface Subject {
  readonly commonName: string;
  readonly organizations?: readonly string[];
}

export interface CertificateRequest {
  readonly subject: Subject;
  readonly issuer: Subject;
  readonly publicKey: KeyObject;
  readonly issuerPublicKey: KeyObject;
  /** An EC P-256 private key. */
  readonly issuerKey: KeyObject;
  readonly usage: 'authority' | 'server' | 'client' | 'server-and-client';
  /** DNS names and IP addresses. */
  readonly names?: readonly string[];
  readonly notBefore: Date;
  readonly notAfter: Date;
}

const OID = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyId: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

/** An X.509 version 3 certificate (RFC 5280), signed with ECDSA and SHA-256, as PEM. */
export function signCertificate(request: CertificateRequest): string {
  const algorithm = der.sequence(der.objectIdentifier(OID.ecdsaWithSha256));
  const body = der.sequence(
    der.explicit(0, der.unsignedInteger(Buffer.from([2]))),
    der.unsignedInteger(randomBytes(16)),
    algorithm,
    distinguishedName(request.issuer),
    der.sequence(der.time(request.notBefore), der.time(request.notAfter)),
    distinguishedName(request.subject),
    request.publicKey.export({ type: 'spki', format: 'der' }),
    der.explicit(3, der.sequence(...extensions(request))),
  );
  const signature = sign('sha256', body, request.issuerKey);
  return pem(der.sequence(body, algorithm, der.bitString(signature)));
}

function pem(bytes: Buffer): string {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function attribute(oid: string, value: string): Buffer {
  return der.set(der.sequence(der.objectIdentifier(oid), der.utf8String(value)));
}

function distinguishedName(subject: Subject): Buffer {
  return der.sequence(
    ...(subject.organizations ?? []).map((name) => attribute(OID.organization, name)),
    attribute(OID.commonName, subject.commonName),
  );
}

function extensions(request: CertificateRequest): Buffer[] {
  const authority = request.usage === 'authority';
  const made = [
    extension(OID.basicConstraints, true, der.sequence(...(authority ? [der.boolean(true)] : []))),
    // keyCertSign and cRLSign for an authority, else digitalSignature (RFC 5280 section 4.2.1.3).
    extension(
      OID.keyUsage,
      true,
      authority ? der.bitString(Buffer.from([0x06]), 1) : der.bitString(Buffer.from([0x80]), 7),
    ),
    extension(OID.subjectKeyId, false, der.octetString(keyId(request.publicKey))),
    extension(OID.authorityKeyId, false, der.sequence(der.implicit(0, keyId(request.issuerPublicKey)))),
  ];
  if (!authority) made.push(extension(OID.extendedKeyUsage, false, der.sequence(...purposes(request.usage))));
  if (request.names !== undefined && request.names.length > 0) {
    made.push(extension(OID.subjectAltName, false, der.sequence(...request.names.map(alternativeName))));
  }
  return made;
}

function purposes(usage: CertificateRequest['usage']): Buffer[] {
  const oids: string[] = [usage === 'client' ? OID.clientAuth : OID.serverAuth];
  if (usage === 'server-and-client') oids.push(OID.clientAuth);
  return oids.map((oid) => der.objectIdentifier(oid));
}

function extension(oid: string, critical: boolean, value: Buffer): Buffer {
  const flag = critical ? [der.boolean(true)] : [];
  return der.sequence(der.objectIdentifier(oid), ...flag, der.octetString(value));
}

/** GeneralName: dNSName is [2], iPAddress is [7]. */
function alternativeName(name: string): Buffer {
  const ip = Ip.tryParse(name);
  return ip === undefined ? der.implicit(2, Buffer.from(name)) : der.implicit(7, ip.toBytes());
}

function keyId(key: KeyObject): Buffer {
  return createHash('sha1')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest();
}
