import fc from 'fast-check';
import { expect, test } from 'vitest';
import { backendSchema } from '../network-config.ts';
import { writeBackendSettings } from './write-settings.ts';

const port = fc.integer({ min: 1, max: 65_535 });
const mtu = fc.option(fc.record({ MTU: fc.integer({ min: 576, max: 9000 }) }), { nil: {} });
const backend = fc
  .tuple(
    fc.oneof(
      fc.constantFrom({ Type: 'host-gw' }, { Type: 'alloc' }),
      fc.record({ Type: fc.constant('ipip'), DirectRouting: fc.boolean() }),
      fc.record({ Type: fc.constant('udp'), Port: port }),
      fc.record({
        Type: fc.constant('vxlan'),
        VNI: fc.integer({ min: 1, max: 0xffffff }),
        Port: port,
        GBP: fc.boolean(),
      }),
      fc.record({
        Type: fc.constant('wireguard'),
        ListenPort: port,
        PSK: fc
          .uint8Array({ minLength: 32, maxLength: 32 })
          .map((bytes) => Buffer.from(bytes).toString('base64')),
        Mode: fc.constantFrom('auto', 'ipv4'),
      }),
    ),
    mtu,
  )
  .map(([fields, more]) => ({ ...fields, ...more }));

test('what is written is read as the same, and has every field that was given', () => {
  fc.assert(
    fc.property(backend, (raw) => {
      const written = writeBackendSettings(backendSchema.parse(raw), { secrets: true });
      expect(written).toMatchObject(raw);
      expect(writeBackendSettings(backendSchema.parse(written), { secrets: true })).toEqual(written);
    }),
    { numRuns: 200 },
  );
});

test('a preshared key is not published', () => {
  const PSK = Buffer.alloc(32, 7).toString('base64');
  const settings = backendSchema.parse({ Type: 'wireguard', PSK });
  expect(writeBackendSettings(settings, { secrets: true })).toMatchObject({ PSK });
  expect(JSON.stringify(writeBackendSettings(settings, { secrets: false }))).not.toContain(PSK);
});
