/** The settings of a unit's main process: its flags, and the YAML file that its --config names. Pure. */
import { isMap } from 'yaml'
import { type PlacesState, realPath } from '../../lib/node/state.ts'
import { parseYaml } from '../../lib/yaml.ts'

/** Of kube-apiserver: it reads that file again when it has changed. */
export const reloadFlag = 'encryption-provider-config-automatic-reload'
const encryptionFlag = 'encryption-provider-config'

export interface Settings {
  /** Absolute paths that the flags, or the file of --config, name. */
  readonly kubeconfigs: readonly string[]
  /** Of an API server: the absolute path that --encryption-provider-config names. */
  readonly encryptionConfig: string | undefined
  /**
   * It requests its client certificate from the cluster itself: a kubelet with --bootstrap-kubeconfig or rotateCertificates.
   * Undefined if its settings can't be read for sure.
   */
  readonly rotatesItself: boolean | undefined
  /** An API server with --encryption-provider-config-automatic-reload. */
  readonly reloadsEncryption: boolean
}

/** Undefined for a unit without a process. */
export function settingsOf(
  unit: string,
  places: Pick<PlacesState, 'units' | 'real' | 'contents'>,
): Settings | undefined {
  const { process } = places.units.get(unit) ?? {}
  if (typeof process !== 'object') return undefined
  const flags = readFlags(process.args)
  const config = readConfig(flags, places)
  const named = [flags.get('kubeconfig'), config && config !== 'unread' && config.kubeconfig]
  const [rotates, bootstrap = ''] = [flags.get('rotate-certificates'), flags.get('bootstrap-kubeconfig')]
  // Flags take precedence over the file.
  const byFile = config === 'unread' ? undefined : config?.rotateCertificates === true
  return {
    kubeconfigs: named.filter((path) => typeof path === 'string').filter((path) => path.startsWith('/')),
    encryptionConfig: absolute(flags.get(encryptionFlag)),
    rotatesItself: bootstrap !== '' || (rotates === undefined ? byFile : isTrue(rotates)),
    reloadsEncryption: isTrue(flags.get(reloadFlag) ?? ''),
  }
}

/** Files that the processes name, and whether their content is needed: a second look asks for those that the first did not. */
export function filesNamedBy({
  units,
}: Pick<PlacesState, 'units'>): { readonly path: string; readonly isRead: boolean }[] {
  return [...units.values()].flatMap(({ process }) => {
    if (typeof process !== 'object') return []
    const flags = readFlags(process.args)
    const [config, encryption] = [absolute(flags.get('config')), absolute(flags.get(encryptionFlag))]
    return [
      ...(config === undefined ? [] : [{ path: config, isRead: true }]),
      // It may be a link to ours.
      ...(encryption === undefined ? [] : [{ path: encryption, isRead: false }]),
    ]
  })
}

/** As pflag reads them: `--name=value`, `--name value`, and of a yes or no `--name` alone. The last one counts. */
function readFlags(args: readonly string[]): Map<string, string> {
  const flags = new Map<string, string>()
  for (const [i, arg] of args.entries()) {
    const [, name, value] = /^--([^=]+)(?:=(.*))?$/.exec(arg) ?? []
    if (name === undefined) continue
    const next = args[i + 1] ?? '--'
    flags.set(name, value ?? (isSwitch(name) || next.startsWith('--') ? 'true' : next))
  }
  return flags
}

const isSwitch = (name: string) => ['rotate-certificates', reloadFlag].includes(name)

/** Go's strconv.ParseBool. */
const isTrue = (value: string) => /^(1|t|T|true|TRUE|True)$/.test(value)

/** Plain: what a node resolves without a shell. */
function absolute(path: string | undefined): string | undefined {
  return path !== undefined && /^(\/[\w@%+=:,.-]+)+$/.test(path) ? path : undefined
}

/** Undefined without a file; `unread` where it could not be read, or other files may say otherwise. */
function readConfig(
  flags: ReadonlyMap<string, string>,
  places: Pick<PlacesState, 'real' | 'contents'>,
): { readonly kubeconfig: unknown; readonly rotateCertificates: unknown } | 'unread' | undefined {
  if (flags.has('config-dir')) return 'unread'
  const named = flags.get('config')
  if (named === undefined || named === '') return undefined
  const path = absolute(named)
  const bytes = path && places.contents.get(realPath(places, path))
  // sigs.k8s.io/yaml reads YAML 1.1, where yes and on are true.
  const config = bytes && parseYaml(bytes.toString(), { schema: 'yaml-1.1' })
  if (!config || config.errors.length > 0) return 'unread'
  // Nothing but comments.
  if (config.contents === null) return undefined
  if (!isMap(config.contents) || config.has('<<')) return 'unread'
  const rotateCertificates = config.get('rotateCertificates')
  if (!['boolean', 'undefined'].includes(typeof rotateCertificates)) return 'unread'
  return { kubeconfig: config.getIn(['clientConnection', 'kubeconfig']), rotateCertificates }
}
