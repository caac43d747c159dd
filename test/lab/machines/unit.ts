/** A unit of a guide's, as it is written on a machine. */
import { realBinaries } from './shared.ts'

export interface Unit {
  readonly name: string
  readonly command: readonly string[]
  /** Of the sections [Unit] and [Service], beside what every unit has. */
  readonly unit?: readonly string[]
  readonly service?: readonly string[]
  /** From the home folder to its place; none where the guide places them otherwise. */
  readonly files?: Readonly<Record<string, readonly string[]>>
  /** Configuration beside them: path → text. */
  readonly texts?: Readonly<Record<string, string>>
}

/** What a kubelet demands of its computer, and would set: these machines may not, and share theirs with the tests. */
const kernelSettings = {
  'vm/overcommit_memory': 1,
  'vm/panic_on_oom': 0,
  'kernel/panic': 10,
  'kernel/panic_on_oops': 1,
  'kernel/keys/root_maxkeys': 1_000_000,
  'kernel/keys/root_maxbytes': 25_000_000,
}
const shownSetting = (path: string) => `/etc/lab/sys/${path}`

/** The stand-in starts no containers. */
export const onRealKubelet: Pick<Unit, 'unit' | 'service' | 'texts'> = realBinaries
  ? {
      unit: ['Requires=containerd.service', 'After=containerd.service'],
      service: [
        ...Object.keys(kernelSettings).map((path) => `BindReadOnlyPaths=${shownSetting(path)}:/proc/sys/${path}`),
        // Nor does a machine have a kernel log.
        'ExecStartPre=ln -sf /dev/null /dev/kmsg',
      ],
      texts: Object.fromEntries(
        Object.entries(kernelSettings).map(([path, value]) => [shownSetting(path), `${value}\n`]),
      ),
    }
  : {}

export function unitText({ name, command, unit = [], service = [] }: Unit): string {
  return [
    '[Unit]',
    `Description=${name}`,
    ...unit,
    '',
    '[Service]',
    ...service,
    `ExecStart=/usr/local/bin/${[name, ...command].join(' \\\n  ')}`,
    'Restart=on-failure',
    'RestartSec=5',
    '',
    '[Install]',
    'WantedBy=multi-user.target',
    '',
  ].join('\n')
}
