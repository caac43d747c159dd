/** The way to a node, as the user's ssh configuration has it: `ssh -G` prints it, and connects to nothing. */

import { statSync } from 'node:fs'
import { userInfo } from 'node:os'
import { resolve } from 'node:path'
import type { ProcessOutput } from 'zx/core'
import { bracketed } from '../address.ts'
import type { ClusterNode } from '../cluster/cluster.ts'
import { doing, Failure, runAgain, tryTo } from '../failure.ts'
import { type Spawning, spawn } from '../process.ts'
import { quote } from '../wording.ts'
import { type ConfigUse, fileWords, first, parseSshConfig, type SshConfig, typedCommand } from './ssh-config.ts'

/** The node, for commands to type. */
export interface SshHost {
  /** With more options, runs `true` there. */
  ssh(options: readonly string[]): string
}

export type Route = Readonly<Awaited<ReturnType<typeof findRoute>>>

const wayOptions = ['hostname', 'port', 'proxycommand', 'proxyjump', 'hostkeyalias']

/** What the jump hosts of a node check is up to the user. Throws a Failure if ssh can't be used. */
export async function findRoute(
  node: ClusterNode,
  options: readonly string[],
  use: ConfigUse,
  run: Pick<Spawning, 'env' | 'signal'>,
) {
  const { exitCode, stdout, stderr } = await printConfig(use, [...options, '--', node.host, 'sh -s'], run)
  if (exitCode !== 0) throw unusable(node.name, stderr)
  const config = parseSshConfig(stdout)
  const hostname = first(config, 'hostname') ?? ''
  const port = first(config, 'port') ?? '22'
  const isTrusting = first(config, 'stricthostkeychecking') === 'accept-new'
  return {
    /** The effective configuration for the node. */
    config,
    host: sshHost(node, use),
    /** Which machine answers, and how it is known: as configured, where `ssh -G` expands no folder or user of ours. */
    way: wayOptions.map((option) => first(config, option)),
    /** Its name in known_hosts. */
    knownAs: first(config, 'hostkeyalias') ?? (port === '22' ? hostname : `[${hostname}]:${port}`),
    isTrusting,
    /** The files searched for its key; an unknown key that is trusted is written to the first of them. */
    knownHosts: knownHosts(config).map((file) => resolve(use.folder, file.replace(/^~(?=\/)/, userInfo().homedir))),
  }
}

function sshHost({ user, host, port }: ClusterNode, use: ConfigUse): SshHost {
  const destination = quote(port === undefined ? `${user}@${host}` : `ssh://${user}@${bracketed(host)}:${port}`)
  return { ssh: (options) => typedCommand('ssh', use, options, `${destination} true`) }
}

function knownHosts(config: SshConfig): string[] {
  return ['userknownhostsfile', 'globalknownhostsfile'].flatMap((name) => spansOf(first(config, name) ?? ''))
}

/**
 * Throws a Failure if a key that was trusted on first use is not in a file now, as with /dev/null or on a full
 * disk: ssh does not report that. The next run would trust whoever answers.
 */
export async function refuseUnkept(node: string, { knownAs, knownHosts }: Route, run: Spawning): Promise<void> {
  const files = knownHosts.filter((file) => tryTo(() => statOf(file))?.isFile())
  const looks = files.map((file) => spawn(run)`ssh-keygen -F ${knownAs} -f ${file}`)
  if ((await Promise.all(looks)).every(({ exitCode }) => exitCode !== 0)) throw unkept(node, knownHosts[0])
}

const statOf = (file: string) => doing('read', file, () => statSync(file, { throwIfNoEntry: false }))

/** Why its key is unknown: to connect once does not help where ssh adds keys to no regular file. */
export function whyUnknown(node: string, { config, knownHosts }: Route): Failure | undefined {
  const isNone = first(config, 'userknownhostsfile') === undefined
  const [file = ''] = isNone ? ['UserKnownHostsFile none'] : knownHosts
  const isLost = isNone || tryTo(() => statOf(file))?.isFile() === false
  return isLost ? unkept(node, file) : undefined
}

/** Files in a list of `ssh -G`, where a name may contain blanks: every span of one or more consecutive words. */
function spansOf(list: string): string[] {
  const words = list.split(' ')
  return words.flatMap((_, i) => words.slice(i).map((__, more) => words.slice(i, i + more + 1).join(' ')))
}

function unkept(node: string, file: string | undefined): Failure {
  return new Failure(`${file} keeps no host keys, so that of the node is unknown each time`, {
    node,
    code: 'host-key-not-kept',
    remedy: `set UserKnownHostsFile in the ssh configuration to a file that ssh can write (check ls -l, df); then ${runAgain}`,
  })
}

/** ssh can't run, is too old, or refuses its own configuration. */
function unusable(node: string, stderr: string): Failure {
  const [said = ''] = stderr.trim().split(/\r?\n/)
  const shown = said.slice(0, 300)
  // The newest of our own options: 8.5 and 8.7.
  const isTooOld = /Bad configuration option: (knownhostscommand|stdinnull)/i.test(said)
  const what = isTooOld ? `this machine's ssh is older than OpenSSH 8.7 (${said})` : `ssh can't be used (${shown})`
  return new Failure(what, {
    node,
    code: isTooOld ? 'ssh-too-old' : 'ssh-unusable',
    remedy: isTooOld
      ? 'install a newer OpenSSH on this machine, and put it first in PATH'
      : `correct the ssh configuration; then ${runAgain}`,
  })
}

/** Milliseconds: `Match exec` in a configuration may run whatever it likes. */
const answerTime = 30_000

/** Throws if ssh can't be started, or does not finish in time. */
async function printConfig(
  use: ConfigUse,
  words: readonly string[],
  { env, signal: aborted }: Pick<Spawning, 'env' | 'signal'>,
): Promise<ProcessOutput> {
  const given = [...fileWords(use), ...words]
  const limit = AbortSignal.timeout(answerTime)
  const signal = AbortSignal.any([aborted, limit])
  const printed = await spawn({ cwd: use.folder, env, signal })`ssh -G ${given}`
  aborted.throwIfAborted()
  if (limit.aborted)
    throw new Failure(`ssh -G did not finish within ${answerTime / 1000} s`, {
      code: 'ssh-unusable',
      remedy: `check what your ssh configuration runs (Match exec):\n    ssh -G ${given.map(quote).join(' ')}`,
    })
  return printed
}
