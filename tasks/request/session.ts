/** What a command is given, and its access to auth/ and the nodes. */
import { accessSync, constants, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import pLimit from 'p-limit'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { doing, Failure, refusal } from '../../lib/failure.ts'
import { AuthDir } from '../../lib/files/auth-dir.ts'
import { type Lock, type LockOptions, takeLock, waitUntilFree } from '../../lib/files/lock.ts'
import { caName } from '../../lib/files/names.ts'
import type { RunOptions } from '../../lib/graph/executor.ts'
import type { Graph } from '../../lib/graph/graph.ts'
import type { Run } from '../../lib/graph/run.ts'
import type { Ssh, SshRun } from '../../lib/remote/ssh.ts'
import { configPath } from '../../lib/remote/ssh-config.ts'
import type { PhaseView } from '../../lib/show/phase-view.ts'
import type { Reporter } from '../../lib/show/reporter.ts'
import { layoutOf, layouts } from '../layouts/table.ts'
import type { ClusterFile } from './cluster-file.ts'
import { commandOf, type Host } from './host.ts'
import type { Options } from './options.ts'

/** For every command. */
export interface Call extends Pick<Host, 'env' | 'cwd' | 'now'> {
  readonly options: Options
  /** The clone's folder, if npm was called from another one (npm --prefix): part of the commands to type. */
  readonly clone: string | undefined
  /** Makes a path on the command line absolute. */
  readonly pathOf: (path: string) => string
  readonly signal: AbortSignal
  /** 128 + signal, if a signal has ended the run. */
  readonly endedStatus: () => number | undefined
  readonly reporterFor: (phases: readonly PhaseView[], isPlan: boolean) => Promise<Reporter>
  /** Shows progress only. */
  readonly progressFor: (phases: readonly PhaseView[]) => Promise<Reporter>
  readonly print: (line: string) => void
  readonly printError: (text: string) => void
}

/** For a command that has a cluster.yaml. */
export interface Request extends Call, ClusterFile {
  /** The cluster.yaml in use: auth/ is beside it. */
  readonly file: string
  /** Candidates for "did you mean", besides phases and targets. */
  readonly commandNames: readonly string[]
  readonly kubeconfigs: () => readonly string[]
}

/** For its work. */
export interface Session extends Request {
  readonly run: Run
  readonly limits: RunOptions['limits']
}

/** Throws a refusal if it is an auth/ of another layout: whatever was done would be done beside that identity. */
export function authBeside({ file, cluster }: Pick<Request, 'file' | 'cluster'>): AuthDir {
  const auth = new AuthDir(join(dirname(file), 'auth'), layoutOf(cluster).files)
  const other = Object.values(layouts).find(({ files }) => files !== auth.files && auth.read(files.certificate(caName)))
  if (!other || auth.read(auth.files.certificate(caName))) return auth
  const its = other.files.certificate(caName)
  throw refusal(`${auth.path} has ${its}, as layout ${other.name} names it, and cluster.yaml is of ${cluster.layout}`, [
    `correct layout in ${file}`,
  ])
}

export function openSession(request: Request, note: (text: string) => void) {
  const { cluster, file, options, kubeconfigs, env, signal } = request
  const place = { folder: dirname(file), env, signal, waitNodes: options.waitNodes ?? 0 }
  const { connect, disconnect, close } = connector(cluster, place)
  const session: Session = {
    ...request,
    run: {
      cluster,
      auth: authBeside(request),
      now: request.now(),
      kubeconfigs,
      connect,
      disconnect,
      command: (task) => commandOf(request, task),
      note,
      options,
    },
    limits: {
      // One more than there are cores: while a certificate is signed, every core goes on making keys.
      auth: pLimit(availableParallelism() + 1),
      node: pLimit(cluster.ssh.concurrency),
      kubeconfig: pLimit(1),
    },
  }
  return { session, close }
}

/** ssh.configFile is checked only if a node is contacted. Throws a usage Failure. */
export function checkConfigFile({ cluster: { ssh }, file, mistake }: Request, graph: Graph): void {
  const path = configPath({ folder: dirname(file), ssh })
  if (path === undefined || ![...graph.values()].some(({ where }) => where === 'node')) return
  const wrong = (why: string) => mistake(['ssh', 'configFile'], why)
  try {
    doing('read', path, () => accessSync(path, constants.R_OK))
  } catch (error) {
    throw error instanceof Failure ? wrong(`can't be used: ${error.message}`) : error
  }
  // ssh would take it for an empty file.
  if (statSync(path).isDirectory()) throw wrong(`is a folder: ${path}`)
}

/** For writers. With --no-lock-wait, throws a Failure if another run holds the lock. */
export async function lockAuth(auth: AuthDir, request: Request, onWait: (text: string) => void): Promise<Lock> {
  const lock = await takeLock(lockFile(auth), lockOptions(request, onWait))
  try {
    auth.removeLeftovers()
    return lock
  } catch (error) {
    lock.release()
    throw error
  }
}

/**
 * For readers: reads while no run holds auth/, and again if one began meanwhile. Writes nothing, so auth/ may be read-only
 * and no run waits for a reader. Throws as lockAuth does.
 */
export async function readUnlocked<T>(request: Request, read: () => Promise<T>): Promise<T> {
  const auth = authBeside(request)
  const { options, printError, signal } = request
  const onWait = options.quiet ? () => {} : printError
  for (;;) {
    // Before the lock is checked, so that a run that begins in between is noticed.
    const version = auth.version()
    await waitUntilFree(lockFile(auth), lockOptions(request, onWait))
    const found = await read()
    if (signal.aborted || auth.version() === version) return found
  }
}

function lockFile({ path }: AuthDir): string {
  return join(path, '.lock')
}

function lockOptions({ options, signal }: Request, onWait: (text: string) => void): LockOptions {
  return { signal, wait: options.noLockWait ? 0 : Number.POSITIVE_INFINITY, onWait }
}

/** zx is loaded by the first connection: most commands make none. */
function connector(cluster: Cluster, place: SshRun) {
  let ssh: Promise<Ssh> | undefined
  const open = async () => new (await import('../../lib/remote/ssh.ts')).Ssh(cluster, place)
  // A failure to open it has already been reported.
  const opened = async () => ssh?.catch(() => undefined)
  return {
    connect: async (node: ClusterNode) => {
      ssh ??= open()
      return (await ssh).connection(node)
    },
    disconnect: async (node: ClusterNode) => (await opened())?.disconnect(node),
    close: async () => (await opened())?.close(),
  }
}
