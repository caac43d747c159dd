/** A guide's machines, as real ones in a network of the test's own, and a cluster's folder whose runs reach them. */
import { execFile } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Edit, makePlace, entry as programEntry, type Ran, writeCluster } from '../../support/harderway.ts'
import { start } from '../../support/process.ts'
import { clientOptions, makeKey, readPublicKey } from '../ssh-key.ts'
import type { Guide } from './guide.ts'
import { harderWay } from './harder-way.ts'
import { hostsOf, Machine, type Role } from './machine.ts'
import { type Namespace, openNamespace } from './namespace.ts'

const run = promisify(execFile)
export interface Machines extends AsyncDisposable {
  readonly guide: Guide
  readonly all: readonly Machine[]
  of(role: Role): Machine[]
  /** Throws when there is none of that name. */
  machine(name: string): Machine
  /** The folder of cluster.yaml and auth/. */
  readonly place: string
  /** cluster.yaml: the guide's, of these machines, with changes. */
  write(...edits: Edit[]): void
  /** What `run` starts. */
  readonly entry: string
  /** Runs harderway in the cluster's folder and the machines' network. */
  run(...args: string[]): Promise<Ran>
  /** Runs a command line there with sh, and gives what it prints; rejects with stdout and stderr. */
  exec(command: string): Promise<string>
  /** Before any other command (kubectl, openssl, curl …): runs it there too. */
  readonly within: readonly string[]
  /** Ends all of it, without a trace. */
  stop(): Promise<void>
}

/** A guide of some of its machines. */
export function onlyMachines(guide: Guide, ...names: readonly string[]): Guide {
  return { ...guide, machines: guide.machines.filter(({ name }) => names.includes(name)) }
}

/**
 * Boots a guide's machines. Needs root, systemd-nspawn and mmdebstrap; throws, without a trace, where one does not come
 * up. `entry` is what runs start, if not the program's own.
 */
export async function startMachines(entry?: string, guide: Guide = harderWay): Promise<Machines> {
  const place = makePlace()
  const dir = join(place, 'lab')
  mkdirSync(dir)
  writeFileSync(join(place, 'hosts'), hostsOf(guide))
  let namespace: Namespace | undefined
  const stop = async () => {
    await namespace?.end()
    rmSync(place, { recursive: true, force: true })
  }
  try {
    namespace = await openNamespace(place)
    const all = await bootAll(guide, namespace, dir)
    return assemble(guide, place, namespace, all, stop, entry)
  } catch (error) {
    await stop()
    throw error
  }
}

/** The folder of the system that all of them boot from: `npm run setup -- --tests` has made it, or it is made here. */
async function makeTree(): Promise<string> {
  return (await run('sh', [join(import.meta.dirname, 'tree.sh')])).stdout.trim()
}

async function bootAll(guide: Guide, namespace: Namespace, dir: string): Promise<Machine[]> {
  const tree = await makeTree()
  const keys = ['client_key', ...guide.machines.map(({ name }) => `${name}_host_key`)]
  await Promise.all(keys.map((name) => makeKey(join(dir, name))))
  const all = guide.machines.map((each) => new Machine(namespace, each))
  const booted = await Promise.allSettled(
    all.map(async (machine) => {
      await machine.makeDisk(tree, guide, dir)
      await machine.start()
    }),
  )
  for (const each of booted) if (each.status === 'rejected') throw each.reason
  await writeClientFiles(guide, dir)
  return all
}

function assemble(
  guide: Guide,
  place: string,
  namespace: Namespace,
  all: readonly Machine[],
  stop: () => Promise<void>,
  entry = programEntry,
): Machines {
  const own: Edit[] = [
    [['ssh', 'configFile'], join(place, 'lab/ssh_config')],
    [['nodes'], guide.machines],
  ]
  const write = (...edits: Edit[]) => writeCluster(place, [...own, ...edits], guide.cluster)
  write()
  // nsenter goes to the folder / with its mounts.
  const within = [...namespace.outside, 'env', `--chdir=${place}`]
  return {
    guide,
    all,
    of: (role) => all.filter((machine) => machine.role === role),
    machine(name) {
      const found = all.find((machine) => machine.name === name)
      if (found === undefined) throw new Error(`there is no machine ${name}`)
      return found
    },
    place,
    write,
    entry,
    run: (...args) => start(place, args, { entry, by: within }).ended,
    async exec(command) {
      const [first = '', ...args] = [...within, 'sh', '-c', command]
      const env = { PATH: process.env.PATH, HOME: join(place, 'home') }
      return (await run(first, args, { env, maxBuffer: 2 ** 26 })).stdout
    },
    within,
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

async function writeClientFiles({ machines }: Guide, dir: string): Promise<void> {
  const keys = await Promise.all(machines.map(({ name }) => readPublicKey(join(dir, `${name}_host_key`))))
  const known = machines.map(({ name, ip }, i) => `${name},${ip} ${keys[i]}\n`)
  writeFileSync(join(dir, 'known_hosts'), known.join(''))
  writeFileSync(join(dir, 'ssh_config'), `Host *\n${clientOptions(dir)}`)
}
