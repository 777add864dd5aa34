import type { BackendSettings } from '../network-config.ts';

/** A Backend object of net-conf.json. */
export type BackendJson = Readonly<Record<string, string | number | boolean>> & { readonly Type: string };

/** In place of a key that is not to be read by everybody: that there is one may be known. */
const HIDDEN = '(set)';

/**
 * The Backend object of net-conf.json that the settings come from, with every default written out. `secrets`: with a
 * preshared key as it is; otherwise the result may be published.
 */
export function writeBackendSettings(
  settings: BackendSettings,
  { secrets }: { secrets: boolean },
): BackendJson {
  const { underlayMtu } = settings;
  return {
    Type: settings.type,
    ...fieldsOf(settings, secrets),
    ...(underlayMtu === undefined ? {} : { MTU: underlayMtu }),
  };
}

function fieldsOf(settings: BackendSettings, secrets: boolean): Record<string, string | number | boolean> {
  switch (settings.type) {
    case 'vxlan': {
      const { vni, port, directRouting, gbp, learning, txChecksumOffload } = settings;
      return {
        VNI: vni,
        Port: port,
        DirectRouting: directRouting,
        GBP: gbp,
        Learning: learning,
        ...(txChecksumOffload === undefined ? {} : { TxChecksumOffload: txChecksumOffload }),
      };
    }
    case 'ipip':
      return { DirectRouting: settings.directRouting };
    case 'udp':
      return { Port: settings.port };
    case 'wireguard': {
      const { listenPort, listenPortV6, presharedKey, keepalive, mode } = settings;
      const key = secrets ? presharedKey?.reveal().toString('base64') : HIDDEN;
      return {
        ListenPort: listenPort,
        ListenPortV6: listenPortV6,
        ...(presharedKey === undefined || key === undefined ? {} : { PSK: key }),
        PersistentKeepaliveInterval: keepalive,
        Mode: mode,
      };
    }
    default:
      return {};
  }
}
