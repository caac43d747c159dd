/** Deploys to the guide's seven nodes, beside the guide's scp calls, and beside Ansible's copy module. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { stringify } from 'yaml'
import { command, deployauth } from '../guide/genauth.ts'
import { guideNodes } from '../guide/requests.ts'
import { type Lab, startLab } from '../lab/lab.ts'
import { entry, gateway, labEdits, writeCluster } from '../support/harderway.ts'
import { shellFiles } from '../support/labs.ts'
import { guideKeys } from './cluster-folder.ts'
import { type Group, inSeconds, local, quietly, type Row } from './groups.ts'
import { runProcess, type Sample, timed } from './process.ts'

export const nodeParts = ['sshd', 'ssh', 'scp']

/** With a folder whose auth/ is made, and deployed. */
export async function startNodes(
  place: string,
  cleanUp: AsyncDisposableStack,
  name: string,
  { delayMs, cluster }: { readonly delayMs?: number; readonly cluster?: string } = {},
) {
  const names = [...guideNodes().map((node) => node.name), 'gateway']
  const nodes = names.map((node) => ({ name: node, ...(delayMs !== undefined && { relay: { delayMs } }) }))
  const folder = join(place, name)
  mkdirSync(folder)
  const lab = await startLab({ dir: join(folder, 'lab'), nodes })
  cleanUp.defer(() => lab.stop())
  writeCluster(folder, [guideKeys, ...labEdits(lab), gateway], cluster)
  await runProcess(place, process.execPath, entry, ...local, 'deploy', ...quietly(folder))
  return { place, lab, folder }
}

type Nodes = Awaited<ReturnType<typeof startNodes>>

const isOurs = (file: string) => !shellFiles.includes(file)

function empty({ nodes }: Lab): void {
  for (const { home } of nodes)
    for (const name of readdirSync(home).filter(isOurs)) rmSync(join(home, name), { recursive: true })
}

/** Cold, and once more after that. */
function bothOf({ lab }: Nodes, work: () => Promise<Sample>) {
  const cold = () => {
    empty(lab)
    return work()
  }
  const idle = async () => {
    await work()
    return work()
  }
  return { cold, idle }
}

export function deploys(nodes: Nodes, program = entry) {
  return bothOf(nodes, () => runProcess(nodes.place, process.execPath, program, 'deploy', ...quietly(nodes.folder)))
}

/** The guide's scp calls alone, without the shell that would start them. */
function scp({ lab, folder }: Nodes): Promise<Sample> {
  const [auth, user] = [join(folder, 'auth'), userInfo().username]
  empty(lab)
  return timed(async () => {
    await deployauth(auth, guideNodes(), { sshConfig: lab.sshConfig, user })
    await command({ cwd: auth }, 'scp', '-F', lab.sshConfig, 'ca.pem', `${user}@gateway:~`)
  })
}

export const deployGroup: Group = {
  pairs: 3,
  parts: nodeParts,
  rows: [
    inSeconds('deploy, cold, loopback', 'near', 'nearScp', 1),
    inSeconds('deploy, cold, 20 ms round trips', 'cold', 'scp', 0.11),
    inSeconds('deploy, nothing to do, 20 ms round trips', 'idle', 'scp', 0.06),
  ],
  async prepare(place, cleanUp) {
    const near = await startNodes(place, cleanUp, 'near')
    const far = await startNodes(place, cleanUp, 'far', { delayMs: 10 })
    return { near: deploys(near).cold, nearScp: () => scp(near), ...deploys(far), scp: () => scp(far) }
  },
}

/** What a deploy costs the first control node, which gets most files. */
export const countGroup: Group = {
  pairs: 1,
  parts: [...nodeParts, 'strace'],
  rows: [
    counted('round trips', 'cold', 'roundTrips', 24),
    counted('round trips', 'idle', 'roundTrips', 10),
    counted('bytes to a node', 'cold', 'bytes', 75_000),
    counted('bytes to a node', 'idle', 'bytes', 20_000),
    counted('processes on a node', 'cold', 'processes', 31),
    counted('processes on a node', 'idle', 'processes', 11),
  ],
  prepare: async (place, cleanUp) => countedDeploys(await startNodes(place, cleanUp, 'far', { delayMs: 10 })),
}

function counted(what: string, side: 'cold' | 'idle', of: Row['of'], goal: number): Row {
  return { what: `${what}, deploy, ${side === 'cold' ? 'cold' : 'nothing to do'}`, ours: side, of, goal }
}

function countedDeploys(nodes: Nodes, program = entry) {
  const { cold, idle } = deploys(nodes, program)
  const { node, relay } = { node: nodes.lab.nodes[0], relay: nodes.lab.relay('control0') }
  const count = async (work: () => Promise<Sample>): Promise<Sample> => {
    const log = join(nodes.folder, 'strace')
    const before = relay.sent
    const strace = spawn('strace', ['-f', '-qq', '-e', 'trace=process', '-o', log, '-p', `${node?.pid}`], {
      stdio: 'ignore',
    })
    await setTimeout(500)
    const sample = await work()
    strace.kill('SIGINT')
    await once(strace, 'close')
    const started = readFileSync(log, 'utf8').match(/^\d+ +(?:<\.\.\. )?(?:clone3?|v?fork)\b.* = \d+$/gm) ?? []
    const { bytes, turns } = relay.sent
    return { ...sample, roundTrips: turns - before.turns, bytes: bytes - before.bytes, processes: started.length }
  }
  return {
    cold: () => count(cold),
    idle: async () => {
      await idle()
      return count(() => runProcess(nodes.place, process.execPath, program, 'deploy', ...quietly(nodes.folder)))
    },
  }
}

/** The same files on the same nodes, with the best settings there are for that. */
export const ansibleGroup: Group = {
  pairs: 3,
  parts: [...nodeParts, 'ansible-playbook'],
  rows: [
    inSeconds('deploy, cold, 20 ms round trips, beside Ansible', 'cold', 'ansible', 0.1),
    inSeconds('deploy, nothing to do, 20 ms round trips, beside Ansible', 'idle', 'ansibleIdle', 0.1),
  ],
  async prepare(place, cleanUp) {
    const nodes = await startNodes(place, cleanUp, 'far', { delayMs: 10 })
    const play = writePlaybook(nodes)
    const { cold: ansible, idle: ansibleIdle } = bothOf(nodes, () => runProcess(place, 'env', ...play))
    return { ...deploys(nodes), ansible, ansibleIdle }
  },
}

/** Of the files of auth/ that are on each node now, with their modes. Returns what runs it. */
function writePlaybook({ folder, lab }: Nodes): string[] {
  const at = (name: string) => join(folder, name)
  // In quotes, so that YAML does not take it for a decimal number.
  const modeOf = (path: string) => (statSync(path).mode & 0o7777).toString(8).padStart(4, '0')
  const files = lab.nodes.map(({ name, home }) => {
    const there = readdirSync(home).filter((file) => existsSync(join(folder, 'auth', file)))
    return [name, { files: there.map((file) => ({ file, mode: modeOf(join(home, file)) })) }]
  })
  const vars = { ansible_user: userInfo().username, ansible_python_interpreter: '/usr/bin/python3' }
  writeFileSync(at('inventory.yaml'), stringify({ all: { hosts: Object.fromEntries(files), vars } }))
  const copy = { src: `${at('auth')}/{{ item.file }}`, dest: '~/{{ item.file }}', mode: '{{ item.mode }}' }
  const tasks = [{ 'ansible.builtin.copy': copy, loop: '{{ files }}', loop_control: { label: '{{ item.file }}' } }]
  writeFileSync(at('deploy.yaml'), stringify([{ hosts: 'all', gather_facts: false, strategy: 'free', tasks }]))
  const settings = [
    ...['[defaults]', `inventory=${at('inventory.yaml')}`, 'forks=16', 'stdout_callback=minimal'],
    ...['[ssh_connection]', 'pipelining=True', `control_path_dir=${at('cp')}`],
    `ssh_args=-F ${lab.sshConfig} -o ControlMaster=auto -o ControlPersist=60s`,
  ]
  writeFileSync(at('ansible.cfg'), `${settings.join('\n')}\n`)
  return [`ANSIBLE_CONFIG=${at('ansible.cfg')}`, 'ansible-playbook', at('deploy.yaml')]
}
