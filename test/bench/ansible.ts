/**
 * How long a deploy takes beside Ansible: the same files on the same seven nodes by its copy module, with the best settings
 * there are for that. `node test/bench/ansible.ts [PAIRS]`.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { type Lab, startLab } from '../lab/lab.ts'
import { gateway, harderway, labEdits, makePlace, writeCluster } from '../support/harderway.ts'
import { shellFiles } from '../support/three-nodes.ts'
import { type Comparison, deploy, empty, names, timed } from './deploy.ts'
import { median } from './figures.ts'

/** As parts of Ansible's time. */
export const ansibleRows = [
  { what: 'deploy, cold, 20 ms round trips, beside Ansible', goal: 0.1 },
  { what: 'deploy, nothing to do, 20 ms round trips, beside Ansible', goal: 0.1 },
] as const

/** Who begins changes from pair to pair; a pair that is not counted warms up what is cached. */
export async function compareAnsible(pairs: number): Promise<Comparison[]> {
  const place = makePlace()
  const nodes = names.map((name) => ({ name, relay: { delayMs: 10 } }))
  const lab = await startLab({ dir: join(place, 'lab'), nodes })
  try {
    writeCluster(place, [...labEdits(lab), gateway])
    const made = await harderway(place, 'certs', 'kubeconfigs', 'encryption-key', 'deploy')
    assert.equal(made.status, 0, made.stdout + made.stderr)
    writePlaybook(place, lab)
    const sides = [() => deploy(place), () => play(place)]
    const times = sides.map(() => ({ cold: [] as number[], idle: [] as number[] }))
    for (let pair = 0; pair <= pairs; pair++)
      for (const side of pair % 2 === 0 ? [0, 1] : [1, 0]) {
        empty(lab)
        for (const kind of ['cold', 'idle'] as const) {
          const seconds = await timed(sides[side] ?? assert.fail)
          if (pair > 0) times[side]?.[kind].push(seconds)
        }
      }
    const [ours, ansible] = times
    const [cold, idle] = ansibleRows
    return [
      { ...cold, ours: ours?.cold ?? [], guide: ansible?.cold ?? [] },
      { ...idle, ours: ours?.idle ?? [], guide: ansible?.idle ?? [] },
    ]
  } finally {
    await lab.stop()
    rmSync(place, { recursive: true, force: true })
  }
}

/** The files that are on each node now, with their modes. */
function writePlaybook(place: string, lab: Lab): void {
  const files = lab.nodes.map(({ name, home }) => {
    const there = readdirSync(home).filter((each) => !shellFiles.includes(each))
    return [name, there.map((file) => ({ file, mode: modeOf(join(home, file)) }))] as const
  })
  const hosts = Object.fromEntries(files.map(([name, list]) => [name, { files: list }]))
  const vars = { ansible_user: userInfo().username, ansible_python_interpreter: '/usr/bin/python3' }
  writeFileSync(join(place, 'inventory.yaml'), stringify({ all: { hosts, vars } }))
  const copy = { src: `${join(place, 'auth')}/{{ item.file }}`, dest: '~/{{ item.file }}', mode: '{{ item.mode }}' }
  const tasks = [{ 'ansible.builtin.copy': copy, loop: '{{ files }}', loop_control: { label: '{{ item.file }}' } }]
  writeFileSync(join(place, 'deploy.yaml'), stringify([{ hosts: 'all', gather_facts: false, strategy: 'free', tasks }]))
  const settings = [
    ...['[defaults]', `inventory=${join(place, 'inventory.yaml')}`, 'forks=16', 'stdout_callback=minimal'],
    ...['[ssh_connection]', 'pipelining=True', `control_path_dir=${join(place, 'cp')}`],
    `ssh_args=-F ${lab.sshConfig} -o ControlMaster=auto -o ControlPersist=60s`,
  ]
  writeFileSync(join(place, 'ansible.cfg'), `${settings.join('\n')}\n`)
}

/** In quotes, so that YAML does not take it for a decimal number. */
function modeOf(path: string): string {
  return (statSync(path).mode & 0o7777).toString(8).padStart(4, '0')
}

async function play(place: string): Promise<void> {
  const env = { PATH: process.env.PATH, HOME: join(place, 'home'), ANSIBLE_CONFIG: join(place, 'ansible.cfg') }
  const child = spawn('ansible-playbook', ['deploy.yaml'], { cwd: place, env: { ...env, LC_ALL: 'C.UTF-8' } })
  let said = ''
  child.stdout.on('data', (data) => {
    said += data
  })
  child.stderr.on('data', (data) => {
    said += data
  })
  const [status] = await once(child, 'close')
  assert.equal(status, 0, said)
}

if (import.meta.main)
  for (const { what, ours, guide } of await compareAnsible(Number(process.argv[2] ?? 3)))
    process.stdout.write(`${what}: ${median(ours).toFixed(2)} s, Ansible ${median(guide).toFixed(2)} s\n`)
