import assert from 'node:assert/strict'
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { after, before } from 'node:test'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { Ssh } from '../../lib/node/ssh.ts'
import { quote } from '../../lib/wording.ts'
import { type Lab, type LabNodeOptions, startLab } from '../lab/lab.ts'
import type { NodeFaults } from '../lab/sshd.ts'
import { parsed } from './files.ts'
import { type Edit, exits, gateway, harderway, labEdits, makePlace, type Ran, writeCluster } from './harderway.ts'

/** Where runs are killed and ended: three real nodes, a kubeconfig that others use too, and states to begin from. */

/** Each of these stays as it is, whatever is added around it: as the YAML library writes it. */
export const foreignParts = [
  '# kept by hand: do not sort\n',
  `- cluster:
    server: https://10.9.8.7:6443 # the old one
    certificate-authority-data: Zm9yZWlnbg==
  name: elsewhere
`,
  `- name: somebody
  user:
    token: "a token: not ours"
`,
  `- { name: elsewhere, context: { cluster: elsewhere, user: somebody, namespace: theirs } }
`,
]
const [comment, cluster, user, context] = foreignParts
const foreignKubeconfig = `apiVersion: v1
kind: Config
${comment}clusters:
${cluster}users:
${user}contexts:
${context}current-context: elsewhere
preferences: {}
`

const roles = { control0: 'control', worker0: 'worker', gateway: 'gateway' }
const change: readonly Edit[] = [
  [['api', 'extraSANs'], ['192.168.1.22']],
  [
    ['encryption', 'resources'],
    ['secrets', 'configmaps'],
  ],
]

/** `empty`: nothing was ever made. `changed`: all was made, and cluster.yaml asks for more since then. */
export type State = 'empty' | 'changed'
export const states: readonly State[] = ['empty', 'changed']

/** What the run does that is stopped; the next is a plain bootstrap. */
export const stoppedCommand: Readonly<Record<State, readonly string[]>> = {
  empty: ['bootstrap', '--json'],
  changed: ['bootstrap', '--force', '--json'],
}

export interface ThreeNodes extends AsyncDisposable {
  readonly path: string
  readonly auth: string
  readonly kubeconfig: string
  readonly lab: Lab
  /** The auth/ that the state begins with. */
  oldAuth(state: State): string | undefined
  reset(state: State): void
}

/** One of the nodes may have something special. */
export async function makeThreeNodes(
  special: (place: string) => LabNodeOptions = () => ({ name: 'gateway' }),
): Promise<ThreeNodes> {
  const path = makePlace()
  const one = special(path)
  const options = Object.keys(roles).map((name) => (name === one.name ? one : { name }))
  const lab = await startLab({ dir: join(path, 'lab'), nodes: options })
  const nodes = Object.entries(roles).map(([name, role], i) => ({ name, role, ip: `192.168.1.${11 + i}` }))
  const edits: Edit[] = [...labEdits(lab), [['nodes'], nodes]]
  const auth = join(path, 'auth')
  const kube = join(path, 'home/.kube')
  const made = join(path, 'made')
  const folders = [auth, kube, ...lab.nodes.map(({ home }) => home)]
  const keptAs = (folder: string) => join(made, folder.slice(path.length + 1).replaceAll('/', '-'))
  const reset = (state: State) => {
    for (const folder of [auth, kube]) rmSync(folder, { recursive: true, force: true })
    for (const { home } of lab.nodes)
      for (const name of readdirSync(home).filter((each) => !shellFiles.includes(each)))
        rmSync(join(home, name), { recursive: true })
    writeCluster(path, state === 'empty' ? edits : [...edits, ...change])
    if (state === 'changed')
      for (const folder of folders) cpSync(keptAs(folder), folder, { recursive: true, preserveTimestamps: true })
    else {
      mkdirSync(kube)
      writeFileSync(join(kube, 'config'), foreignKubeconfig, { mode: 0o600 })
    }
  }
  reset('empty')
  await exits(0, path, 'bootstrap')
  for (const folder of folders) cpSync(folder, keptAs(folder), { recursive: true, preserveTimestamps: true })
  return {
    path,
    auth,
    kubeconfig: join(kube, 'config'),
    lab,
    oldAuth: (state) => (state === 'changed' ? keptAs(auth) : undefined),
    reset,
    [Symbol.asyncDispose]: async () => {
      await lab.stop()
      rmSync(path, { recursive: true, force: true })
    },
  }
}

/** The lab's own, in each home. */
export const shellFiles = ['.bashrc', '.zshenv']

interface LabPlace<Of> {
  readonly place: string
  readonly lab: Of
}

/** A place, and a lab of these nodes that is up from before the tests of a suite until after them. */
export const labPlace = (...names: readonly string[]): LabPlace<Lab> =>
  placeWith((dir) => startLab({ dir, nodes: names.map((name) => ({ name })) }))

/** The same without sshd: for what is not about ssh, at half of the time. */
export const localPlace = (...names: readonly string[]): LabPlace<LocalLab> =>
  placeWith(async (dir) => startLocalLab(dir, names))

function placeWith<Of extends { stop(): Promise<void> }>(start: (dir: string) => Promise<Of>): LabPlace<Of> {
  const place = makePlace()
  let lab: Of | undefined
  before(async () => {
    lab = await start(join(place, 'lab'))
  })
  after(async () => {
    await lab?.stop()
    rmSync(place, { recursive: true, force: true })
  })
  return {
    place,
    get lab() {
      return lab ?? assert.fail('it is not up yet')
    },
  }
}

/** A folder of this machine. Its commands run here: local-ssh.sh. */
class LocalNode {
  readonly name: string
  readonly home: string
  readonly #login: string
  #env: Readonly<Record<string, string>> = {}

  constructor(dir: string, name: string) {
    this.name = name
    this.home = join(dir, name, 'home')
    this.#login = join(dir, name, 'login')
    mkdirSync(this.home, { recursive: true })
    this.#write()
  }

  async start(): Promise<void> {
    this.#write()
  }

  async stop(): Promise<void> {
    rmSync(this.#login, { force: true })
  }

  async restart({ env = this.#env }: Pick<NodeFaults, 'env'>): Promise<void> {
    this.#env = env
    this.#write()
  }

  #write(): void {
    const env = { HOME: this.home, PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', ...this.#env }
    writeFileSync(
      this.#login,
      `export ${Object.entries(env)
        .map(([key, value]) => `${key}=${quote(value)}`)
        .join(' ')}\n`,
    )
  }
}

export interface LocalLab extends AsyncDisposable {
  readonly sshConfig: string
  readonly nodes: readonly LocalNode[]
  node(name: string): LocalNode
  stop(): Promise<void>
}

/** While it is up, ssh and scp are its own for this process and those that it starts. */
export function startLocalLab(dir: string, names: readonly string[]): LocalLab {
  const nodes = names.map((name) => new LocalNode(dir, name))
  const sshConfig = join(dir, 'ssh_config')
  writeFileSync(sshConfig, names.map((name) => `Host ${name}\n  HostName 127.0.0.1\n`).join(''))
  mkdirSync(join(dir, 'bin'))
  for (const program of ['ssh', 'scp'])
    symlinkSync(join(import.meta.dirname, 'local-ssh.sh'), join(dir, 'bin', program))
  const { PATH } = process.env
  process.env.PATH = `${join(dir, 'bin')}:${PATH}`
  const stop = async () => {
    process.env.PATH = PATH
  }
  const node = (name: string) => nodes.find((each) => each.name === name) ?? assert.fail(`the lab has no node ${name}`)
  return { sshConfig, nodes, node, stop, [Symbol.asyncDispose]: stop }
}

/** Where nodes are made to fail: the guide's seven, bootstrapped once, and what a run left on each. */

export const sevenNames = ['control0', 'control1', 'control2', 'worker0', 'worker1', 'worker2', 'gateway']

export interface SevenNodes extends AsyncDisposable {
  readonly path: string
  readonly lab: Lab
  /** cluster.yaml with changes to what it was at first. */
  write(...edits: Edit[]): void
  run(...args: string[]): Promise<Ran>
  /** Takes everything from the nodes that a run puts there. */
  empty(): void
  /** Nodes that have all their files, each with the bytes of auth/ and its mode, and nothing else. */
  rightNodes(): string[]
  /** What stands in the node's home, but for the lab's own. */
  filesOn(name: string): string[]
}

export async function makeSevenNodes(special: readonly LabNodeOptions[]): Promise<SevenNodes> {
  const path = makePlace()
  const nodes = sevenNames.map((name) => special.find((one) => one.name === name) ?? { name })
  const lab = await startLab({ dir: join(path, 'lab'), nodes })
  const write = (...edits: Edit[]) => writeCluster(path, [...labEdits(lab), gateway, ...edits])
  const run = (...args: string[]) => harderway(path, ...args)
  const filesOn = (name: string) =>
    readdirSync(lab.node(name).home).filter((file) => !file.startsWith('.harderway.') && !shellFiles.includes(file))
  const dispose = async () => {
    await lab.stop()
    rmSync(path, { recursive: true, force: true })
  }
  try {
    write()
    await exits(0, path, 'bootstrap')
  } catch (error) {
    await dispose()
    throw error
  }
  const expected = new Map(sevenNames.map((name) => [name, filesOn(name).toSorted()]))
  const isRight = (name: string) => {
    const files = filesOn(name).toSorted()
    return (
      files.join() === expected.get(name)?.join() &&
      files.every((file) => {
        const there = join(lab.node(name).home, file)
        const mode = file.endsWith('.pem') && !file.endsWith('-key.pem') ? 0o644 : 0o600
        return (
          (lstatSync(there).mode & 0o777) === mode && readFileSync(there).equals(readFileSync(join(path, 'auth', file)))
        )
      })
    )
  }
  return {
    path,
    lab,
    write,
    run,
    empty: () => {
      for (const name of sevenNames)
        for (const file of filesOn(name)) rmSync(join(lab.node(name).home, file), { recursive: true })
    },
    rightNodes: () => sevenNames.filter((name) => existsSync(lab.node(name).home) && isRight(name)),
    filesOn,
    [Symbol.asyncDispose]: dispose,
  }
}

/** Connections of lib/ to a lab's nodes, by an ssh_config that the test writes. */

export interface SshLab extends AsyncDisposable {
  /** Where cluster.yaml would be. */
  readonly folder: string
  readonly lab: Lab
  /** A stanza for ssh_config: without more, nothing is said of host keys. */
  host(name: string, ...lines: readonly string[]): string
  /** By a run of its own: what the script prints on the node, or the Failure. */
  run(name: string, script: string, use: ConfigUse): Promise<string | Failure>
  /** For what else may be done with a connection. */
  connect<T>(
    name: string,
    use: ConfigUse,
    work: (connection: Awaited<ReturnType<Ssh['connection']>>) => Promise<T>,
  ): Promise<T>
}

interface ConfigUse {
  /** The text of ssh_config. */
  readonly config: string
  /** What is set before all stanzas, and so counts first. */
  readonly options?: Readonly<Record<string, string>>
}

export async function openSshLab(...nodes: readonly LabNodeOptions[]): Promise<SshLab> {
  const folder = makePlace()
  const lab = await startLab({ dir: join(folder, 'lab'), nodes })
  mkdirSync(join(folder, 'out'))
  const host: SshLab['host'] = (name, ...lines) => {
    const { port } = lab.node(name)
    const key = join(folder, 'lab/client_key')
    const address = lines.some((line) => line.startsWith('HostName ')) ? [] : ['HostName 127.0.0.1']
    const own = [...address, `Port ${port}`, `IdentityFile ${key}`, 'IdentitiesOnly yes', ...lines]
    // The first value counts.
    return [`Host ${name}`, ...own, `UserKnownHostsFile ${lab.knownHosts}`, 'GlobalKnownHostsFile none', ''].join('\n')
  }
  const connect: SshLab['connect'] = async (name, { config, options = {} }, work) => {
    const lines = Object.entries(options).map(([key, value]) => `${key} ${value}\n`)
    writeFileSync(join(folder, 'ssh_config'), [...lines, config].join(''))
    const cluster = clusterOf(name)
    const ssh = new Ssh(cluster, { folder, env: process.env, signal: new AbortController().signal })
    const [node] = cluster.nodes
    try {
      if (!node) throw new Error('no node')
      return await work(await ssh.connection(node))
    } finally {
      await ssh.close()
    }
  }
  const run: SshLab['run'] = (name, script, use) =>
    connect(name, use, (connection) => connection.run(script)).catch((error: unknown) => {
      if (error instanceof Failure) return error
      throw error
    })
  const dispose = async () => {
    await lab.stop()
    rmSync(folder, { recursive: true, force: true })
  }
  return { folder, lab, host, run, connect, [Symbol.asyncDispose]: dispose }
}

function clusterOf(name: string): Cluster {
  const value = {
    name: 'kubenet',
    api: { virtualIP: '192.168.1.21' },
    // No node lets this user in: the node's own counts.
    ssh: { configFile: './ssh_config', user: 'stranger' },
    nodes: [{ name, role: 'control', ip: '192.168.1.11', user: userInfo().username }],
  }
  return parsed(JSON.stringify(value))
}

/** The nodes' clocks are so many seconds ahead, by a `date` of their own in the folder. */
export async function setClocks(lab: Pick<Lab | LocalLab, 'nodes'>, folder: string, seconds: number): Promise<void> {
  const tools = join(folder, `clock${seconds}`)
  mkdirSync(tools, { recursive: true })
  const date = `#!/bin/sh\nexec /bin/date -d "@$(($(/bin/date +%s) + ${seconds}))" "$@"\n`
  writeFileSync(join(tools, 'date'), date, { mode: 0o755 })
  await Promise.all(lab.nodes.map((node) => node.restart({ env: { PATH: `${tools}:${process.env.PATH}` } })))
}
