import { existsSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join, resolve } from 'node:path'
import { LabNode } from './lab-node.ts'
import { endTrees } from './processes.ts'
import { type Relay, type RelayBehaviour, startRelay } from './relay.ts'
import { clientOptions, makeKey } from './ssh-key.ts'
import { type NodeFaults, readSshd, type Sshd } from './sshd.ts'

export interface LabNodeOptions extends NodeFaults {
  readonly name: string
  /** Puts a relay between the ssh_config and the node. */
  readonly relay?: RelayBehaviour
}

export interface Lab extends AsyncDisposable {
  /** For `ssh -F`: a Host stanza a node; nothing of the user's own configuration, keys or agent is used. */
  readonly sshConfig: string
  readonly knownHosts: string
  readonly nodes: readonly LabNode[]
  /** Throws when there is no such node; so does relay() when it has none. */
  node(name: string): LabNode
  relay(name: string): Relay
  /** Ends the processes the lab started, and no other. */
  stop(): Promise<void>
}

interface Place {
  readonly node: LabNode
  readonly relay: Relay | undefined
}

/**
 * Throw-away nodes, each a real sshd on 127.0.0.1. Throws when sshd is missing or a node does not start. Their folder
 * is made if it is missing, and left behind by stop() with all logs; its path may hold no space, quote, $ or %.
 */
export async function startLab(asked: {
  readonly dir: string
  readonly nodes: readonly LabNodeOptions[]
}): Promise<Lab> {
  const dir = resolve(asked.dir)
  if (/[\s"'\\$%]/.test(dir)) throw new Error(`ssh and sshd would misread the path ${dir}`)
  const sshd = await readSshd()
  await mkdir(dir, { recursive: true, mode: 0o755 })
  // Debian's sshd, run by root, locks itself into this folder before a login. Its service makes it, and may never have
  // run.
  if (process.getuid?.() === 0 && existsSync('/etc/debian_version')) await mkdir('/run/sshd', { recursive: true })
  const started = await Promise.allSettled([
    makeKey(join(dir, 'client_key')),
    ...asked.nodes.map((node) => startNode(dir, node, sshd)),
  ])
  const places = started.flatMap((result) => (result.status === 'fulfilled' && result.value ? [result.value] : []))
  const stop = async () => {
    // All at once, since each look at the process table costs as much as ending a node.
    await endTrees(places.flatMap(({ node }) => node.pid ?? []))
    await Promise.all(places.flatMap(({ node, relay }) => [node.stop(), relay?.close()]))
  }
  try {
    const failed = started.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
    await writeClientFiles(dir, places)
  } catch (error) {
    await stop()
    throw error
  }
  return assemble(dir, places, stop)
}

function assemble(dir: string, places: readonly Place[], stop: () => Promise<void>): Lab {
  const find = (name: string) => {
    const place = places.find(({ node }) => node.name === name)
    if (place === undefined) throw new Error(`the lab has no node ${name}`)
    return place
  }
  return {
    sshConfig: join(dir, 'ssh_config'),
    knownHosts: join(dir, 'known_hosts'),
    nodes: places.map(({ node }) => node),
    node: (name) => find(name).node,
    relay(name) {
      const { relay } = find(name)
      if (relay === undefined) throw new Error(`the node ${name} has no relay`)
      return relay
    },
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

async function startNode(dir: string, options: LabNodeOptions, sshd: Sshd): Promise<Place> {
  const { name, relay, ...faults } = options
  const folder = join(dir, name)
  const home = join(folder, 'home')
  await mkdir(folder, { recursive: true, mode: 0o755 })
  await makeHome(home)
  await Promise.all([makeKey(join(folder, 'host_key')), rm(join(folder, 'log'), { force: true })])
  const clientKey = join(dir, 'client_key.pub')
  const node = new LabNode({ name, folder, home, clientKey, sshd }, faults)
  await node.start()
  return { node, relay: relay && (await startRelay({ ...relay, targetPort: node.port })) }
}

/** sshd starts a shell in the passwd file's home. These files are read by a shell that ssh starts, and move it. */
async function makeHome(home: string): Promise<void> {
  await mkdir(home, { recursive: true, mode: 0o755 })
  const move = '[ "$SHLVL" -gt 1 ] || cd\n'
  await Promise.all(['.bashrc', '.zshenv'].map((file) => writeFile(join(home, file), move)))
}

async function writeClientFiles(dir: string, places: readonly Place[]): Promise<void> {
  const hosts = await Promise.all(
    places.map(async ({ node, relay }) => {
      const port = relay?.port ?? node.port
      return { name: node.name, port, key: await node.hostKey() }
    }),
  )
  await Promise.all([
    writeFile(join(dir, 'ssh_config'), hosts.map(({ name, port }) => formatHost(dir, name, port)).join('')),
    writeFile(join(dir, 'known_hosts'), hosts.map(({ port, key }) => `[127.0.0.1]:${port} ${key}\n`).join('')),
  ])
}

function formatHost(dir: string, name: string, port: number): string {
  const address = [`Host ${name}`, '  HostName 127.0.0.1', `  Port ${port}`, `  User ${userInfo().username}`]
  return `${address.join('\n')}\n${clientOptions(dir)}`
}
