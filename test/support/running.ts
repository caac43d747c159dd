/** The guide's machines with its components running on them, and what is asked of them in tests of `install`. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { drain, undrain } from '../lab/machines/balancer.ts'
import { installAll } from '../lab/machines/components.ts'
import type { Guide, Pair } from '../lab/machines/guide.ts'
import { harderWay } from '../lab/machines/harder-way.ts'
import type { Machine } from '../lab/machines/machine.ts'
import { type Machines, startMachines } from '../lab/machines/machines.ts'
import type { Failed } from '../lab/machines/prober.ts'
import { isSince } from '../lab/machines/shared.ts'
import { type Edit, idsOf, type Ran, readCluster } from './harderway.ts'
import { type AtEvent, type Ended, sshProcesses, start } from './process.ts'
import { eventually, needs } from './programs.ts'

const lacksRoot = process.getuid?.() !== 0 && !process.env.REQUIRE_PARTS && 'machines need root'
export const skip = lacksRoot || needs('systemd-nspawn', 'mmdebstrap', 'ip', 'etcdctl', 'kubectl', 'curl', 'openssl')

/** Of an etcd that has a CA of its own. */
export function probedOwn({ guide: { probed } }: Machines): Guide['probed'] {
  assert.ok(probed.etcd)
  const pair: Pair = ['apiserver-etcd-client.pem', 'apiserver-etcd-client-key.pem']
  return { ...probed, etcd: { ...probed.etcd, ca: 'etcd-ca.pem', pair } }
}

export const install = { drain, undrain }

/** Keys that are made at once, and `install`, with what differs. */
export function running(more: object = {}, ...edits: Edit[]): Edit[] {
  return [[['certificates', 'key'], 'ecdsa-p256'], [['install'], { ...install, ...more }], ...edits]
}

/** With it, and a drain, no request is cut off by a restart of an API server: docs/install.md. */
export const shutdownDelay = `unit=/etc/systemd/system/kube-apiserver.service
[ ! -e $unit ] || sed -i 's/--v=2/--shutdown-delay-duration=1s/' $unit`

/**
 * A function of sh: `split FOLDER KUBECONFIG NAME` has a kubeconfig name its pair and its CA by file, as the first
 * `install` does.
 */
export const split = `split() {
  [ -e "$1/$2" ] || return 0
  (
    umask 077
    for part in certificate key; do
      sed -n "s/^ *client-$part-data: //p" "$1/$2" | base64 -d
      echo
    done >"$1/$3-client.pem"
    sed -n "s/^ *certificate-authority-data: //p" "$1/$2" | base64 -d >"$1/$3-ca.pem"
  )
  sed -i -E "s/^( *client-(certificate|key))-data: .*/\\1: $3-client.pem/; s/^( *certificate-authority)-data: .*/\\1: $3-ca.pem/" "$1/$2"
}`
const splitAll = `${split}
for file in kube-controller-manager kube-scheduler; do split /var/lib/kubernetes $file.kubeconfig $file; done
split /var/lib/kubelet kubeconfig $(hostname)
split /var/lib/kube-proxy kubeconfig kube-proxy`
/** A unit that was restarted has to stay healthy for as long: short-waits.ts. */
export const restartSooner = `find /etc/systemd/system -maxdepth 1 -type f -name '*.service' -exec sed -i 's/RestartSec=5/RestartSec=1/; s/^\\[Unit\\]$/&\\nStartLimitIntervalSec=0/' {} +`

/** Nothing that units read is where the guide has it: own-paths.sh. */
export const ownPaths = readFileSync(join(import.meta.dirname, '../lab/machines/own-paths.sh'), 'utf8')
const pastedIn = new WeakMap<Machines, Map<string, Edit>>()

/** Puts what a run has printed for units that read other paths into each cluster.yaml that is written from now on. */
export function paste(lab: Machines, ran: Ran): void {
  const { nodes } = readCluster(readFileSync(join(lab.place, 'cluster.yaml')))
  const lines = toldOf(ran).matchAll(
    /^ *(?:install\/(\S+): )?.*\n.*set in cluster\.yaml:\n +install\.units\.(\S+)\.(\w+): (.*)$/gm,
  )
  for (const [, node = '', unit = '', key = '', value = ''] of lines) {
    const at = nodes.findIndex(({ name }) => name === node)
    pasteAt(lab, [...(at < 0 ? ['install', 'units'] : ['nodes', at, 'units']), unit, key], parse(value))
  }
}

function pasteAt(lab: Machines, at: Edit[0], value: unknown): void {
  pastedIn.get(lab)?.set(JSON.stringify(at), [at, value])
}

/** A path of a unit, in each cluster.yaml that is written from now on. */
export function declare(lab: Machines, unit: string, file: string, path: string): void {
  pasteAt(lab, ['install', 'units', unit, 'files', file], path)
}

/**
 * Machines on which the whole cluster runs, as after an `install`: the next run has nothing to do. Runs do not wait
 * long (short-waits.ts), unless REAL_WAITS is set. `project`: a folder with another version, whose runs they are.
 */
export async function startRunning(prepare = '', project = join(import.meta.dirname, '../..')): Promise<Machines> {
  const entry = join(project, process.env.REAL_WAITS ? 'tasks/main.js' : 'test/support/short-waits.ts')
  const lab = await startMachines(entry)
  try {
    lab.write(...running())
    await mustRun(lab, 0, 'bootstrap')
    await installAll(lab, [splitAll, restartSooner, prepare].join('\n'))
    const own = new Map<string, Edit>()
    const declared = { ...lab, write: (...edits: Edit[]) => lab.write(...edits, ...own.values()) }
    pastedIn.set(declared, own)
    await eventually(async () => {
      const ran = await lab.run('bootstrap', '--dry-run')
      if (ran.status === 1 && prepare.includes(ownPaths)) {
        paste(declared, ran)
        declared.write(...running())
      }
      assert.equal(ran.status, 0, toldOf(ran))
    })
    return declared
  } catch (error) {
    await lab.stop()
    throw error
  }
}

/** Without what is up to date. */
export const toldOf = ({ stdout, stderr }: Ran): string =>
  stdout.replaceAll(/^.*(up to date|fresh|expires .*|renews from .*)$\n/gm, '') + stderr

export async function mustRun(lab: Machines, status: number, ...args: string[]): Promise<Ran> {
  const ran = await lab.run(...args)
  assert.equal(ran.status, status, toldOf(ran))
  return ran
}

/** Sets the flags that a run names for that node, in the files of the unit: the unit starts with them next time. */
function setFlagsOn({ stdout, stderr }: Ran, name: string): string {
  const told = [
    ...(stdout + stderr).matchAll(
      /\bon ([\w, .-]+), kube-apiserver needs (.*?); set that where .*? \(systemctl cat (\S+)\)/g,
    ),
  ]
  const [, , flags = '', service = ''] =
    told.find(([, nodes = '']) => nodes.split(', ').includes(name)) ?? assert.fail(stdout + stderr)
  const [dropped, set] = [/--[\w-]+/g, /--[\w-]+=[^ ,;]+/g].map((each) => flags.match(each) ?? [])
  const edits = [
    ...(dropped ?? []).map((flag) => `s#[ \t]${flag}(=| )[^ ]+##g`),
    ...(set ?? []).map((flag) => `s#^(ExecStart=[^ ]+)#\\1 ${flag}#`),
  ]
  const files = `$(systemctl show --value -p FragmentPath -p DropInPaths ${service})`
  return `sed -i -E ${edits.map((each) => `-e '${each}'`).join(' ')} ${files} && systemctl daemon-reload`
}

/** A run that is watched, or killed with all of its ssh, at an event. */
export async function runAt(lab: Machines, args: readonly string[], at: AtEvent): Promise<Ended> {
  const ended = await start(lab.place, args, {
    at,
    entry: lab.entry,
    through: (line) => [lab.within[0] ?? '', ...lab.within.slice(1), 'sh', '-c', `exec ${line}`],
  }).ended
  for (const pid of at.do === 'kill' ? sshProcesses(lab.place) : [])
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It has ended by itself.
    }
  return ended
}

/** `control0 etcd` → when it was started, in microseconds of a clock that all machines share. */
export async function readStarts(lab: Machines): Promise<Map<string, number>> {
  const starts = await Promise.all(
    lab.all.map(async (machine) => {
      const units = machine.role === 'gateway' ? ['ldirectord'] : lab.guide.units(machine).map(({ name }) => name)
      const told = await machine.exec(`systemctl show --value -p ExecMainStartTimestampMonotonic ${units.join(' ')}`)
      return told
        .split('\n')
        .filter(Boolean)
        .map((time, i): [string, number] => [`${machine.name} ${units[i]}`, Number(time)])
    }),
  )
  return new Map(starts.flat())
}

/** Those that were started since, sorted. */
export async function startedSince(lab: Machines, before: ReadonlyMap<string, number>): Promise<string[]> {
  const now = await readStarts(lab)
  return [...now].flatMap(([unit, time]) => (time === before.get(unit) ? [] : [unit])).toSorted()
}

export const everywhere = (unit: string, role: 'control' | 'worker' = 'control'): string[] =>
  (role === 'control' ? ['control0', 'control1', 'control2'] : ['worker0', 'worker1']).map((name) => `${name} ${unit}`)

/** The targets of phase `install` of which an event of this type was told. */
export const installs = (ran: Ran, type: string): string[] => idsOf(ran, type).filter((id) => id.startsWith('install/'))
export const everyInstall: readonly string[] = harderWay.machines.map(({ name }) => `install/${name}`).toSorted()

/** A renewal restarts those of real components before 1.36: docs/install.md. */
export const restartedKubelets: readonly string[] = isSince('1.36')
  ? []
  : [...everywhere('kubelet'), ...everywhere('kubelet', 'worker')]

/** The SHA-256 of the leaf that is shown at a port, as openssl prints it. */
export async function shownBy(lab: Machines, name: string, port: number): Promise<string> {
  const pair = '-cert auth/kubernetes.pem -key auth/kubernetes-key.pem'
  const connect = `openssl s_client -connect ${lab.machine(name).ip}:${port} ${pair} </dev/null 2>/dev/null`
  return await lab.exec(`${connect} | openssl x509 -noout -fingerprint -sha256`)
}

export function fingerprint(lab: Machines, name: string): Promise<string> {
  return lab.exec(`openssl x509 -noout -fingerprint -sha256 -in auth/${name}.pem`)
}

/** As a new change of a file that all may read: that it was read since is not certain any more. */
export function unload(lab: Machines, name: string, path: string): Promise<string> {
  return lab.machine(name).exec(`chmod 600 ${path} && chmod 644 ${path}`)
}

/** What runs of ours leave beside places and on the gateway: nothing. */
export async function assertNothingLeft(lab: Machines): Promise<void> {
  for (const machine of lab.all) {
    const found = await machine.exec(
      `find /srv /etc/etcd /var/lib/kubernetes /var/lib/kubelet /var/lib/kube-proxy /usr/local/share/ca-certificates /var/lib/harderway ${lab.guide.home} -mindepth 1 -name '*harderway*' 2>/dev/null || true`,
    )
    assert.equal(found, '', machine.name)
  }
  for (const gateway of lab.of('gateway')) assert.deepEqual(await drainedServers(gateway), [])
}

/** By haproxy's own word. */
async function drainedServers(gateway: Machine): Promise<string[]> {
  const states = await gateway.exec(
    `bash -c 'exec 3<>/dev/tcp/127.0.0.1/9999; echo "show servers state kubernetes" >&3; cat <&3'`,
  )
  const rows = states.split('\n').filter((line) => /^\d+ kubernetes /.test(line))
  assert.equal(rows.length, 3)
  // srv_admin_state: https://docs.haproxy.org/3.0/management.html, "show servers state"; 8 is a drain that was asked
  // for.
  return rows.flatMap((row) => {
    const [, , , name = '', , , admin] = row.split(' ')
    return Number(admin) & 8 ? [name] : []
  })
}

interface Probed {
  readonly counts: readonly number[]
  readonly failures: readonly Failed[]
  /** Writes that an etcd cut off as it was restarted. */
  readonly cut: number
}

/** Asks until its end, which tells what failed. `folder`: with an auth/ that its clients have of their own. */
export function probe(
  lab: Machines,
  probed = lab.guide.probed,
  folder = '.',
): AsyncDisposable & { end(): Promise<Probed> } {
  const script = join(import.meta.dirname, '../lab/machines/prober.ts')
  const inFolder = ['env', `--chdir=${join(lab.place, folder)}`]
  const [first = '', ...args] = [...lab.within, ...inFolder, process.execPath, script, JSON.stringify(probed)]
  const child = spawn(first, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  let told = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    told += text
  })
  const closed = once(child, 'close')
  const close = async () => {
    child.stdin.end()
    await closed
  }
  return { end: async () => close().then(() => JSON.parse(told)), [Symbol.asyncDispose]: close }
}

/** Runs the work while a client sends requests all the time, none of which may fail. */
export async function unnoticed(lab: Machines, work: () => Promise<void>, probed = lab.guide.probed): Promise<void> {
  await using probing = probe(lab, probed)
  await work()
  const { counts, failures, cut } = await probing.end()
  assert.deepEqual(failures, [])
  assert.ok(cut <= 3, `${cut} writes cut off by three restarts of etcd`)
  assertAsked(counts)
}

/** The API is asked five times a second, all else more rarely; the shortest work takes three seconds. */
export function assertAsked([fresh = 0, kept = 0, ...others]: readonly number[]): void {
  assert.ok(Math.min(fresh, kept) > 3 && others.every((count) => count > 0), [fresh, kept, ...others].join())
}

/** When an API server of that node was down, in milliseconds since 1970. */
async function readOutages(lab: Machines, name: string): Promise<[began: number, ended: number][]> {
  const lines = (await lab.machine(name).exec('journalctl --no-pager --output=json --unit=kube-apiserver')).split('\n')
  const said = lines.filter(Boolean).map((line) => JSON.parse(line))
  const timesOf = (message: RegExp, field: string) =>
    said.flatMap((each) =>
      message.test(each.MESSAGE) ? [Number(each[field] ?? each.__REALTIME_TIMESTAMP) / 1000] : [],
    )
  const starts = timesOf(/Serving securely/, '__REALTIME_TIMESTAMP')
  // Under load journald reads what systemd has sent after the API server is down.
  return timesOf(/^Stopping /, '_SOURCE_REALTIME_TIMESTAMP').map((began) => [
    began,
    starts.find((start) => start > began) ?? Number.POSITIVE_INFINITY,
  ])
}

/**
 * Runs the work while a client sends requests all the time: they fail only while the API server of that node is down.
 */
export async function onlyWhileDown(lab: Machines, name: string, work: () => Promise<void>): Promise<void> {
  await using probing = probe(lab)
  await work()
  const { failures } = await probing.end()
  const outages = await readOutages(lab, name)
  const others = failures.filter(
    (failure) => !outages.some(([began, ended]) => failure.began <= ended && failure.ended >= began),
  )
  assert.deepEqual(others, [])
}

/** What the API server of that node answers the admin. */
export async function getObject(lab: Machines, name: string, path: string, ...more: string[]) {
  const admin = '--cacert auth/ca.pem --cert auth/admin.pem --key auth/admin-key.pem'
  const url = `https://${lab.machine(name).ip}:6443${path}`
  return JSON.parse(await lab.exec(`curl -sf -H 'Content-Type: application/json' ${admin} ${more.join(' ')} ${url}`))
}

/** The status of an answer to who shows a pair; 000 if the handshake was refused. */
export function statusOf(lab: Machines, url: string, pair: string, ca = 'auth/ca.pem'): Promise<string> {
  return lab.exec(
    `curl -s -o /dev/null -w '%{http_code}' --cacert ${ca} --cert ${pair}.pem --key ${pair}-key.pem ${url} || true`,
  )
}

/** As its user's name: whom an API server takes a client for that claims to be somebody. */
export async function namedBy(lab: Machines, name: string, pair: string): Promise<string> {
  const review = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' }
  const told = await lab.exec(
    `curl -s --cacert auth/ca.pem --cert auth/${pair}.pem --key auth/${pair}-key.pem -H 'X-Remote-User: somebody' -H 'Content-Type: application/json' -d '${JSON.stringify(review)}' https://${lab.machine(name).ip}:6443/apis/authentication.k8s.io/v1/selfsubjectreviews`,
  )
  return JSON.parse(told).status.userInfo.username
}

/** As a run names them, on each node. */
export async function setFlags(lab: Machines, ran: Ran, names: readonly string[]): Promise<void> {
  for (const name of names) await lab.machine(name).exec(setFlagsOn(ran, name))
}
/** Seconds that a process lives; 'slow' is one that does not serve yet. */
type Life = number | 'slow'

const kubeconfig = '/var/lib/kube-proxy/kubeconfig'
const healthy = "require('node:http').createServer((_, answer) => answer.end('ok')).listen(10256, '127.0.0.1')"

function commandOf(life: Life): string {
  if (life === 'slow') return 'sleep infinity'
  return `/opt/lab/node -e "${healthy}; setTimeout(() => process.exit(1), ${life * 1000})"`
}

/** A kube-proxy that serves what it is asked for its health, until its life is over, in seconds. */
export async function live(machine: Machine, life: Life, restartsAfter: number): Promise<void> {
  const service = [`ExecStart=/usr/bin/env ${commandOf(life)}`, 'Restart=always', `RestartSec=${restartsAfter}`]
  machine.write(
    '/etc/systemd/system/kube-proxy.service',
    ['[Unit]', 'StartLimitIntervalSec=0', '[Service]', ...service, ''].join('\n'),
  )
  // No API server runs that could accept a new pair: the kubeconfig is as after an install.
  await machine.exec(`${split}
    mkdir -p /var/lib/kube-proxy
    [ -e ${kubeconfig} ] || { cp /home/ubuntu/kube-proxy.kubeconfig ${kubeconfig}; split /var/lib/kube-proxy kubeconfig kube-proxy; }
    systemctl daemon-reload; systemctl restart kube-proxy`)
}
