import { X509Certificate, createPrivateKey } from 'node:crypto';
import { expect, test } from 'vitest';
import { CertificateAuthority } from './certificate-authority.ts';

test('an issued server certificate verifies against the authority and carries its names', () => {
  const authority = CertificateAuthority.create();
  const pair = authority.issue({
    commonName: 'kube-apiserver',
    usage: 'server',
    names: ['kubernetes.default', '10.96.0.1', 'fd00::1'],
  });
  const certificate = new X509Certificate(pair.certificate);
  const root = new X509Certificate(authority.certificate);
  expect(certificate.verify(root.publicKey)).toBe(true);
  expect(certificate.checkIssued(root)).toBe(true);
  expect(root.ca).toBe(true);
  expect(certificate.ca).toBe(false);
  expect(certificate.checkPrivateKey(createPrivateKey(pair.key))).toBe(true);
  expect(certificate.subjectAltName).toBe(
    'DNS:kubernetes.default, IP Address:10.96.0.1, IP Address:FD00:0:0:0:0:0:0:1',
  );
  expect(certificate.checkHost('kubernetes.default')).toBe('kubernetes.default');
});

test('a client certificate names user and groups', () => {
  const pair = CertificateAuthority.create().issue({
    commonName: 'admin',
    organizations: ['system:masters', 'ops'],
    usage: 'client',
  });
  expect(new X509Certificate(pair.certificate).subject).toBe('O=system:masters\nO=ops\nCN=admin');
});

test('an authority saved and loaded signs under the same root', () => {
  const first = CertificateAuthority.create();
  const again = CertificateAuthority.load({ certificate: first.certificate, key: first.exportKey() });
  const leaf = new X509Certificate(again.issue({ commonName: 'x', usage: 'client' }).certificate);
  expect(leaf.verify(new X509Certificate(first.certificate).publicKey)).toBe(true);
});
