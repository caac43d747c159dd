/** `schedule`: systemd accepts the units, and they do what a run by hand does. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { scratch } from '../../support/files.ts'
import { type Edit, entry, exits, harderway, writeCluster } from '../../support/harderway.ts'
import { needs } from '../../support/programs.ts'

/** Nothing listens there. */
const closed: readonly Edit[] = [
  [['nodes'], [{ name: 'control0', role: 'control', ip: '192.168.1.11', host: '127.0.0.1', port: 1 }]],
]
const names = ['service', 'timer'].map((end) => `harderway-kubenet.${end}`)

/** A folder that nobody would name so, with a cluster.yaml. */
function prepare(t: { after(work: () => void): void }, edits: readonly Edit[] = []): string {
  const place = join(scratch(t), `it's 100%n "$HOME" \\ mine`)
  mkdirSync(join(place, 'home'), { recursive: true })
  writeCluster(place, [...closed, ...edits])
  return place
}

async function written(place: string, env: Readonly<Record<string, string>> = {}) {
  const ran = await exits(0, { place, env }, 'schedule', '--write', 'units', '--output', 'textfile/kubenet.prom')
  const folder = join(place, 'units')
  assert.deepEqual(readdirSync(folder), names)
  const text = (end: string) => readFileSync(join(folder, `harderway-kubenet.${end}`), 'utf8')
  return { ...ran, folder, text }
}

test('systemd accepts the units', { skip: needs('systemd-analyze') }, async (t) => {
  const { folder, text } = await written(prepare(t))
  const analyze = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8' })
    return { status, said: stdout + stderr }
  }
  const units = names.map((name) => join(folder, name))
  assert.deepEqual(analyze('verify', '--man=no', ...units), { status: 0, said: '' })
  // It accepts a % that begins a specifier, and a $ that begins a variable.
  assert.doesNotMatch(text('service').replaceAll('%%', ''), /%/)
  for (const [line] of text('service').matchAll(/^Exec.*$/gm)) assert.doesNotMatch(line.replaceAll('$$', ''), /\$/)
})

test('the units run this Node and this entry as this user, with the KUBECONFIG that bootstrap reads', async (t) => {
  const place = scratch(t)
  writeCluster(place)
  const { text } = await written(place)
  const service = text('service')
  const config = `--config ${place}/cluster.yaml`
  assert.ok(service.includes(`\nExecStart=${process.execPath} ${entry} bootstrap ${config}\n`), service)
  assert.ok(service.includes(`\nUser=${userInfo().username}\nWorkingDirectory=${place}\n`), service)
  assert.doesNotMatch(service, /KUBECONFIG/)
  const env = { KUBECONFIG: 'a/config:b/config' }
  const kept = await written(place, env)
  const both = `KUBECONFIG=${place}/a/config:${place}/b/config`
  assert.match(kept.text('service'), new RegExp(`^Environment=${both}$`, 'm'))
  // Where bootstrap does not read it.
  writeCluster(place, [[['localKubeconfig'], { path: './kubeconfig' }]])
  assert.doesNotMatch((await written(place, env)).text('service'), /KUBECONFIG/)
})

test('it is printed if no folder is given, under a name that systemd allows', async (t) => {
  const place = scratch(t)
  writeCluster(place, [[['name'], 'a:b/c@d.e_f-G']])
  const { stdout } = await harderway(place, 'schedule')
  const names = ['service', 'timer'].map((end) => `# harderway-a-b-c-d.e_f-G.${end}`)
  assert.deepEqual(stdout.match(/^# harderway-.*$/gm), names)
  const { events } = await harderway(place, 'schedule', '--json')
  for (const { type, text } of events) assert.ok(type === 'file' && stdout.includes(String(text)))
})

test('nothing is written into auth/', async (t) => {
  const place = scratch(t)
  writeCluster(place)
  for (const options of [
    ['--write', 'auth'],
    ['--write', 'units', '--output', 'auth/a.prom'],
  ])
    assert.match((await exits(2, place, 'schedule', ...options)).stderr, / is in \S+\/auth, /)
})
