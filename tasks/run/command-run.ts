/** What a command is given: a run, and what only the command needs of it. */

import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { availableParallelism, homedir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import pLimit from 'p-limit'
import {
  type Cluster,
  type ClusterNode,
  type PlacedProblem,
  parseCluster,
  sshConfigPath,
} from '../../lib/cluster/cluster.ts'
import { asFailure, doing, Failure, refusal, tryTo, usageFailure } from '../../lib/failure.ts'
import { AuthDir, caName, markersIn, neededMarker } from '../../lib/files/auth-dir.ts'
import { followLinks } from '../../lib/files/plain-file.ts'
import type { Ssh, SshRun } from '../../lib/node/ssh.ts'
import type { Phases, Reporter } from '../../lib/show/rows.ts'
import { formatExplained } from '../../lib/wording.ts'
import type { Path } from '../../lib/yaml.ts'
import { layoutOf, layoutRules, layouts } from '../layouts/tables.ts'
import type { ClusterGraph, Run } from '../target.ts'
import { findsClusterIn, formatCommand, type Host, ownVersion, packageFile, pathOf } from './host.ts'
import type { Options } from './options.ts'

export interface CommandRun extends Run, ClusterFile {
  readonly host: Host
  readonly options: Options
  readonly file: string
  readonly signal: AbortSignal
  /** 128 + signal, if a signal has ended the run. */
  readonly endedStatus: () => number | undefined
  readonly reporterFor: (phases: Phases, isPlan: boolean) => Promise<Reporter>
  readonly progressFor: (phases: Phases) => Promise<Reporter>
  readonly print: (line: string) => void
  readonly printError: (text: string) => void
}

/** What a command is given that runs before there is a cluster.yaml. */
export type WithoutCluster = Pick<CommandRun, 'host' | 'options' | 'signal' | 'print'>

/** Throws a usage Failure for mistakes in cluster.yaml, and a refusal for an auth/ of another layout. */
export function openRun(
  given: Omit<CommandRun, keyof Run | keyof ClusterFile | 'file'> & Pick<CommandRun, 'options'>,
): CommandRun & { close(): Promise<void> } {
  const { host, options, signal, printError } = given
  const file = configOf(host, options.config)
  const isFound = file === join(host.cwd(), 'cluster.yaml') && findsClusterIn(host.cwd())
  const config = isFound ? undefined : options.config
  const { cluster, mistake } = readCluster(file)
  return {
    ...given,
    ...connector(cluster, { folder: dirname(file), env: host.env, signal }),
    cluster,
    mistake,
    file,
    auth: authBeside({ file, cluster }),
    now: host.now(),
    clock: host.now,
    waits: host.waits,
    kubeconfig: () => kubeconfigPath(cluster, dirname(file), host),
    command: (task) => formatCommand(task, config),
    note: printError,
    limits: {
      // One more than there are cores: while a certificate is signed, every core goes on making keys.
      auth: pLimit(availableParallelism() + 1),
      node: pLimit(cluster.ssh.concurrency),
      kubeconfig: pLimit(1),
    },
    planned: 'auth',
  }
}

/** Throws if it is a link to nothing, of a newer harderway, or of another layout. */
export function authBeside(run: Pick<CommandRun, 'file' | 'cluster'>): AuthDir {
  return openAuth(join(dirname(run.file), 'auth'), run)
}

export function openAuth(path: string, { file, cluster }: Pick<CommandRun, 'file' | 'cluster'>): AuthDir {
  const auth = new AuthDir(path, layoutOf(cluster).files)
  const target = followLinks(path)
  if (target !== path && !existsSync(target))
    throw new Failure(`${path} links to ${target}, which does not exist; is its disk mounted?`)
  refuseNewer(auth)
  const other = Object.values(layouts).find(({ files }) => files !== auth.files && auth.read(files.certificate(caName)))
  if (!other || auth.read(auth.files.certificate(caName))) return auth
  const its = other.files.certificate(caName)
  throw refusal(`${auth.path} has ${its} (layout ${other.name}), but cluster.yaml has layout ${cluster.layout}`, [
    `correct layout in ${file}`,
  ])
}

/** Throws a refusal for an auth/ that this version may misread. */
export function refuseNewer(auth: AuthDir): void {
  const own = ownVersion()
  for (const file of markersIn(auth)) {
    const needed = file.slice(neededMarker.length)
    if (needed.localeCompare(own, 'en', { numeric: true }) > 0)
      throw refusal(`${auth.path} needs a newer harderway (${file}); this is ${own}`, [
        `update to harderway ${needed} or later; the update alone changes nothing on nodes`,
      ])
  }
}

/** localKubeconfig.path, else of kubectl's list the first that exists, or the last. */
function kubeconfigPath({ localKubeconfig }: Cluster, folder: string, host: Host): string {
  const path = localKubeconfig ? localKubeconfig.path : undefined
  if (path !== undefined) return path.startsWith('~/') ? join(home(host), path.slice(2)) : resolve(folder, path)
  const list = kubectlFiles(host)
  return list.find((each) => existsSync(each)) ?? list.at(-1) ?? ''
}

/** Of kubectl, where nothing else is said: $KUBECONFIG, a list, else ~/.kube/config. */
export function kubectlFiles(host: Host): string[] {
  const list = (host.env.KUBECONFIG ?? '').split(delimiter).filter(Boolean)
  return list.length > 0 ? [...new Set(list.map((each) => pathOf(host, each)))] : [join(home(host), '.kube', 'config')]
}

const home = ({ env }: Host): string => env.HOME || homedir()

/** ssh.configFile is checked only if a node is contacted. Throws a usage Failure. */
export function checkConfigFile({ cluster: { ssh }, file, mistake }: CommandRun, graph: ClusterGraph): void {
  const path = sshConfigPath(dirname(file), ssh)
  if (path === undefined || ![...graph.values()].some(({ where }) => where === 'node')) return
  try {
    doing('read', path, () => accessSync(path, constants.R_OK))
  } catch (error) {
    throw mistake(['ssh', 'configFile'], `can't be used: ${asFailure(error).message}`)
  }
}

/** zx is loaded by the first connection: most commands make none. */
function connector(cluster: Cluster, place: SshRun) {
  let ssh: Promise<Ssh> | undefined
  const open = async () => new (await import('../../lib/node/ssh.ts')).Ssh(cluster, place)
  // A failure to open it has already been reported.
  const opened = async () => ssh?.catch(() => undefined)
  return {
    connect: async (node: ClusterNode) => {
      ssh ??= open()
      return (await ssh).node(node)
    },
    // Where all may be connected at once, a rotation's next walk needs it again.
    disconnect: async (node: ClusterNode) => {
      if (cluster.nodes.length > cluster.ssh.concurrency) await (await opened())?.disconnect(node)
    },
    close: async () => (await opened())?.close(),
  }
}

interface ClusterFile {
  readonly cluster: Cluster
  readonly mistake: (path: Path, message: string, remedy?: string) => Failure
}

function readCluster(file: string): ClusterFile {
  if (!existsSync(file)) throw usageFailure(`${file} does not exist`, `create one:\n    ${formatCommand('init DIR')}`)
  const bytes = doing('read', file, () => readFileSync(file), 'usage')
  const parsed = parseCluster(bytes, layoutRules)
  const format = (problem: PlacedProblem) => `${file}:${problem.line}:${problem.column}: ${formatExplained(problem)}`
  const wrong = (problems: readonly PlacedProblem[]) => {
    const mistakes = problems.map((problem) => ({ file, ...problem }))
    return new Failure(problems.map(format).join('\n'), { kind: 'usage', mistakes })
  }
  if ('problems' in parsed) throw wrong(parsed.problems)
  const { cluster, problemAt } = parsed
  return { cluster, mistake: (...problem) => wrong([problemAt(...problem)]) }
}

/** A sentence if it is the guide's cluster.yaml, as in the clone and the package: it is nobody's, until it is edited. */
export function noteOnExample({ file }: Pick<CommandRun, 'file'>): string | undefined {
  const [used, example] = [file, packageFile('cluster.yaml')].map((path) => tryTo(() => readFileSync(path)))
  if (!used || !example?.equals(used)) return undefined
  return `${file} is the unedited example; name your own with --config FILE, or create one:\n    ${formatCommand('init DIR')}`
}

/** The cluster.yaml in use: npm runs scripts in the folder of the clone. Throws a usage Failure if there is none. */
function configOf(host: Host, typed?: string): string {
  if (typed !== undefined) return pathOf(host, typed)
  const file = join(host.cwd(), 'cluster.yaml')
  if (existsSync(file)) return file
  const remedy = `give one with --config FILE, or create one:\n    ${formatCommand('init DIR')}`
  throw usageFailure(`${file} does not exist`, remedy)
}
