/** Connections of lib/ to a lab's nodes, by an ssh_config that the test writes. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { type Cluster, parseCluster } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { Ssh } from '../../lib/remote/ssh.ts'
import { known } from '../../tasks/tables/files.ts'
import { type Lab, type LabNodeOptions, startLab } from '../lab/lab.ts'
import { makePlace } from './harderway.ts'

export interface SshLab extends AsyncDisposable {
  /** Where cluster.yaml would be. */
  readonly folder: string
  readonly lab: Lab
  /** A stanza for ssh_config: without more, nothing is said of host keys. */
  host(name: string, ...lines: readonly string[]): string
  /** By a run of its own: what the script prints on the node, or the Failure. */
  run(name: string, script: string, use: SshUse): Promise<string | Failure>
  /** For what else may be done with a connection. */
  connect<T>(
    name: string,
    use: SshUse,
    work: (connection: Awaited<ReturnType<Ssh['connection']>>) => Promise<T>,
  ): Promise<T>
}

export interface SshUse {
  /** The text of ssh_config. */
  readonly config: string
  readonly options?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
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
  const connect: SshLab['connect'] = async (name, { config, options, signal = new AbortController().signal }, work) => {
    writeFileSync(join(folder, 'ssh_config'), config)
    const cluster = clusterOf(name, options)
    const ssh = new Ssh(cluster, { folder, env: process.env, signal, waitNodes: 0 })
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

function clusterOf(name: string, options: Readonly<Record<string, string>> = {}): Cluster {
  const value = {
    name: 'kubenet',
    api: { virtualIP: '192.168.1.21' },
    // No node lets this user in: the node's own counts.
    ssh: { configFile: './ssh_config', user: 'stranger', options },
    nodes: [{ name, role: 'control', ip: '192.168.1.11', user: userInfo().username }],
  }
  const parsed = parseCluster(Buffer.from(JSON.stringify(value)), known)
  if ('problems' in parsed) throw new Error(JSON.stringify(parsed.problems))
  return parsed.cluster
}
