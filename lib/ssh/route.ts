/** The way to a node, as the user's ssh configuration has it: asked of ssh (`ssh -G`) before it connects. */
import { accessSync, constants, statSync } from 'node:fs'
import { userInfo } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { ProcessOutput } from 'zx/core'
import { bracketed } from '../address.ts'
import type { ClusterNode } from '../cluster/cluster.ts'
import { Failure, isErrno } from '../failure.ts'
import { type Spawning, spawn } from '../process.ts'
import { type SshUse, typedCommand } from '../ssh-config/command.ts'
import {
  first,
  jumpUncheckedBecause,
  lastJump,
  parseSshConfig,
  type SshConfig,
  uncheckedBecause,
} from '../ssh-config/config.ts'
import { quote } from '../wording.ts'
import { printConfig } from './effective.ts'

/** Jump hosts on the way to one node; more than this means that two configurations refer to each other. */
const mostJumps = 8

/** A node, or a jump host on the way to it. */
export interface SshHost {
  /** A jump host as it is named in the configuration; undefined for the node itself. */
  readonly jump: string | undefined
  readonly hostname: string
  readonly port: string
  /** In known_hosts. */
  readonly knownAs: string
  /** To be typed: `true` run there by ssh with more options; to a variable of the shell, where one stands for it. */
  ssh(options: readonly string[], variable?: string): string
  /** Quoted for the shell. */
  readonly destination: string
  /** Where its key is looked for, if an unknown one is trusted and written to the first of them. */
  readonly learnsInto: readonly string[]
}

export interface Route {
  /** The effective configuration for the node. */
  readonly config: SshConfig
  /** The node, then the jump hosts from the last to the first. */
  readonly places: readonly [SshHost, ...SshHost[]]
}

interface Named {
  readonly jump?: string | undefined
  readonly words?: readonly string[]
  readonly destination: string
}

/** Of one run. */
export class Routes {
  readonly #use: SshUse
  readonly #run: Pick<Spawning, 'env' | 'signal'>
  /** Many nodes may be behind one. */
  readonly #ofJumps = new Map<string, Promise<ProcessOutput>>()

  constructor(use: SshUse, run: Pick<Spawning, 'env' | 'signal'>) {
    this.#use = use
    this.#run = run
  }

  /** Throws a Failure where a host key on the way would not be checked. */
  async find(node: ClusterNode, options: readonly string[]): Promise<Route> {
    const { ssh } = this.#use
    const config = configOf(node.name, await printConfig(this.#use, [...options, '--', node.host, 'sh -s'], this.#run))
    const host = `${ssh.user}@${node.port === undefined ? node.host : `${bracketed(node.host)}:${node.port}`}`
    const place = this.#place(config, { destination: node.port === undefined ? host : `ssh://${host}` })
    const because = uncheckedBecause(config, this.#isLasting)
    if (because !== undefined) throw unchecked(node.name, place, because)
    return { config, places: [place, ...(await this.#jumpsOf(node.name, config))] }
  }

  async #jumpsOf(node: string, config: SshConfig, depth = 1): Promise<SshHost[]> {
    const jump = lastJump(config)
    if (!jump) return []
    if (depth > mostJumps) throw unusable(node, `more than ${mostJumps} jump hosts`)
    const { words, destination } = jump
    const key = [...words, destination].join(' ')
    const printed = this.#ofJumps.get(key) ?? printConfig(this.#use, [...words, '--', destination], this.#run)
    this.#ofJumps.set(key, printed)
    const its = configOf(node, await printed)
    const place = this.#place(its, { jump: first(its, 'host'), words, destination })
    const because = jumpUncheckedBecause(its, this.#isLasting)
    if (because !== undefined) throw unchecked(node, place, because)
    return [place, ...(await this.#jumpsOf(node, its, depth + 1))]
  }

  #place(config: SshConfig, { jump, words = [], destination }: Named): SshHost {
    const hostname = first(config, 'hostname') ?? ''
    const port = first(config, 'port') ?? '22'
    const knownAs = first(config, 'hostkeyalias') ?? (port === '22' ? hostname : `[${hostname}]:${port}`)
    const quoted = quote(destination)
    const ssh: SshHost['ssh'] = (options, variable = quoted) =>
      typedCommand('ssh', this.#use, [...options, ...words], { rest: `${variable} true`, isJump: jump !== undefined })
    return { jump, hostname, port, knownAs, ssh, destination: quoted, learnsInto: this.#learnsInto(config) }
  }

  #learnsInto(config: SshConfig): string[] {
    const isTrusting = first(config, 'stricthostkeychecking') === 'accept-new'
    if (!isTrusting || first(config, 'knownhostscommand')) return []
    const files = ['userknownhostsfile', 'globalknownhostsfile'].flatMap((name) => spansOf(first(config, name) ?? ''))
    return files.map((file) => this.#resolve(file))
  }

  /**
   * Throws a Failure where a key that was trusted at the first meeting is not in a file now: ssh does not say so on a full
   * disk, and the next run would trust whoever answers.
   */
  async refuseUnkept(node: string, places: Route['places']): Promise<void> {
    const { folder: cwd } = this.#use
    for (const { knownAs, learnsInto } of places) {
      const [kept] = learnsInto
      if (kept === undefined) continue
      const there = learnsInto.filter((file) => statOf(file)?.isFile())
      const looks = there.map((file) =>
        spawn(['ssh-keygen', '-F', knownAs, '-f', file], { ...this.#run, cwd, input: '' }),
      )
      if ((await Promise.all(looks)).every(({ exitCode }) => exitCode !== 0)) throw unkept(node, knownAs, kept)
    }
  }

  readonly #resolve = (file: string): string => resolve(this.#use.folder, file.replace(/^~(?=\/)/, userInfo().homedir))

  /** Whether the file keeps a key that ssh writes to it: not /dev/null, and in a folder that exists. */
  readonly #isLasting = (file: string): boolean => {
    const path = this.#resolve(file)
    if (file === 'none' || path.includes('%')) return false
    const kind = statOf(path)
    if (kind) return kind.isFile() && isWritable(path)
    // The one folder that ssh makes itself.
    const above = dirname(path)
    return isWritable(above) || above === join(userInfo().homedir, '.ssh')
  }
}

function configOf(node: string, { exitCode, stdout, stderr }: ProcessOutput): SshConfig {
  if (exitCode !== 0) throw unusable(node, stderr)
  return parseSshConfig(stdout)
}

/** Files in a list of `ssh -G`, where a blank may be part of a name: one word or several that follow each other. */
function spansOf(list: string): string[] {
  const words = list.split(' ')
  return words.flatMap((_, i) => words.slice(i).map((__, more) => words.slice(i, i + more + 1).join(' ')))
}

function statOf(path: string) {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch (error) {
    if (isErrno(error)) return undefined
    throw error
  }
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}

function unchecked(node: string, place: SshHost, because: string): Failure {
  const { jump } = place
  const what = `${jump === undefined ? '' : `jump host ${jump}: `}the host key would not be checked: ${because}`
  const remedyFor = ([some = place]: readonly SshHost[]) =>
    `check the effective configuration, and change it (yes, or accept-new with a permanent file):\n${some.ssh(['-G'])} | grep -iE 'stricthost|knownhosts|localhost'`
  return new Failure(`${node}: ${what}`, {
    code: 'host-key-unchecked',
    shared: { what, who: node, place, remedyFor },
  })
}

function unkept(node: string, knownAs: string, file: string): Failure {
  const what = `host keys are not kept in ${file}`
  const remedyFor = () => `see why ssh can't write to it (df, ls -l); then run the same command again`
  return new Failure(`${node}: ${what}: that of ${knownAs} was trusted as unknown, and would be again`, {
    code: 'host-key-not-kept',
    shared: { what, who: node, place: undefined, remedyFor },
  })
}

/** ssh can't run, or refuses its own configuration: the node has no part in it. */
function unusable(node: string, stderr: string): Failure {
  const [said = ''] = stderr.trim().split(/\r?\n/)
  const shown = said.replace(/^command-line:? line 0: /, 'ssh.options in cluster.yaml: ').slice(0, 300)
  const what = `ssh can't be used (${shown})`
  const remedyFor = () => 'correct the ssh configuration; then run the same command again'
  return new Failure(`${node}: ${what}`, {
    code: 'ssh-unusable',
    shared: { what, who: node, place: undefined, remedyFor },
  })
}
