/**
 * `npm run setup`: installs what the demo needs and this machine lacks; with --tests also the real parts that the tests
 * are about, and the system that machines in tests boot from. No service is left running or enabled that was not before.
 */
import { accessSync, constants, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { parseArgs } from 'node:util'
import { $ } from 'zx/core'

/** A command, and the package that brings it; '' where the system has none. */
interface Part {
  readonly command: string
  readonly debian: string
  readonly brew: string
}

const demo: readonly Part[] = [
  { command: 'sshd', debian: 'openssh-server', brew: 'openssh' },
  { command: 'ssh', debian: 'openssh-client', brew: 'openssh' },
]
const tests: readonly Part[] = [
  { command: 'openssl', debian: 'openssl', brew: 'openssl' },
  { command: 'kubectl', debian: 'kubectl', brew: 'kubernetes-cli' },
  { command: 'cfssl', debian: 'golang-cfssl', brew: 'cfssl' },
  { command: 'cfssljson', debian: 'golang-cfssl', brew: 'cfssl' },
  { command: 'etcd', debian: 'etcd-server', brew: 'etcd' },
  { command: 'etcdctl', debian: 'etcd-client', brew: 'etcd' },
  { command: 'curl', debian: 'curl', brew: 'curl' },
  { command: 'gnutls-cli', debian: 'gnutls-bin', brew: 'gnutls' },
  { command: 'gnutls-serv', debian: 'gnutls-bin', brew: 'gnutls' },
  { command: 'zlint', debian: 'zlint', brew: 'zlint' },
  { command: 'tar', debian: 'tar', brew: '' },
  { command: 'bsdtar', debian: 'libarchive-tools', brew: 'libarchive' },
  { command: 'script', debian: 'bsdutils', brew: '' },
  { command: 'strace', debian: 'strace', brew: '' },
  { command: 'faketime', debian: 'faketime', brew: 'libfaketime' },
  { command: 'busybox', debian: 'busybox', brew: '' },
  { command: 'dot', debian: 'graphviz', brew: 'graphviz' },
  { command: 'xmllint', debian: 'libxml2-utils', brew: 'libxml2' },
  { command: 'chromium', debian: 'chromium', brew: '' },
  { command: 'promtool', debian: 'promtool', brew: 'prometheus' },
  { command: 'systemd-nspawn', debian: 'systemd-container', brew: '' },
  { command: 'mmdebstrap', debian: 'mmdebstrap', brew: '' },
  { command: 'ip', debian: 'iproute2', brew: '' },
  { command: 'age', debian: 'age', brew: 'age' },
  { command: 'ansible-playbook', debian: 'ansible-core', brew: 'ansible' },
  { command: 'update-ca-certificates', debian: 'ca-certificates', brew: '' },
]

const enabledIn = '/etc/systemd/system'
const policy = '/usr/sbin/policy-rc.d'
const run = $({ stdio: 'inherit', quiet: true, prefix: '', shell: '/bin/sh' })
const ask = $({ quiet: true, nothrow: true, prefix: '', shell: '/bin/sh' })

async function setup(withTests: boolean): Promise<number> {
  const missing = [...demo, ...(withTests ? tests : [])].filter(({ command }) => !isInstalled(command))
  if (missing.length === 0) return done()
  say(`Missing here: ${missing.map(({ command }) => command).join(', ')}`)
  if (isInstalled('apt-get')) await installByApt([...new Set(missing.map(({ debian }) => debian))])
  else if (isInstalled('brew')) await run`brew install ${[...new Set(missing.flatMap(({ brew }) => brew || []))]}`
  else say('There is neither apt-get nor brew: please install these yourself.')
  const left = missing.filter(({ command }) => !isInstalled(command))
  if (left.length === 0) return done()
  say(`Still missing: ${left.map(({ command }) => command).join(', ')}. Tests that need them are skipped.`)
  return left.some((part) => demo.includes(part)) ? 1 : 0
}

async function installByApt(packages: readonly string[]): Promise<void> {
  const root = process.getuid?.() === 0 ? [] : ['sudo']
  say(`Installing with apt-get: ${packages.join(' ')}`)
  await run`${root} apt-get -q update`
  const known = await Promise.all(
    packages.map(async (name) => (/Candidate: \d/.test((await ask`apt-cache policy ${name}`).stdout) ? name : '')),
  )
  const unknown = packages.filter((name) => !known.includes(name))
  if (unknown.length > 0) say(`This system's archive does not have ${unknown.join(', ')}: skipped.`)
  const wanted = known.filter(Boolean)
  if (wanted.length > 0)
    await withoutServices(
      root,
      () => run`${root} env DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends ${wanted}`,
    )
}

/** Packages of servers start and enable them. */
async function withoutServices(root: readonly string[], install: () => Promise<unknown>): Promise<void> {
  const before = enabledServices()
  const isOurs = root.length === 0 && !existsSync(policy)
  // Asked by the packages' scripts before they start a service; 101 is "not allowed".
  if (isOurs) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    await install()
  } finally {
    if (isOurs) rmSync(policy)
  }
  for (const unit of enabledServices().filter((each) => !before.includes(each))) {
    say(`Disabling ${unit}, which its package had enabled.`)
    await ask`${root} systemctl disable --now ${unit}`
  }
}

/** Units that something of the system wants at its start. */
function enabledServices(): string[] {
  if (!existsSync(enabledIn)) return []
  const wants = readdirSync(enabledIn).filter((name) => name.endsWith('.target.wants'))
  return wants.flatMap((name) => readdirSync(join(enabledIn, name)))
}

function isInstalled(command: string): boolean {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
  return folders.some((folder) => {
    try {
      accessSync(join(folder, command), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** So that no test waits for it. */
async function makeTree(): Promise<void> {
  if (process.getuid?.() !== 0)
    return say(
      'Tests on machines need root, and are skipped without. As root, this command makes the system they boot from.',
    )
  say('Making the system that machines in tests boot from, where it is not there yet.')
  await run`sh ${join(import.meta.dirname, 'machines/tree.sh')}`
}

function done(): number {
  say('Everything that is needed is here.')
  return 0
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

const { values } = parseArgs({ options: { tests: { type: 'boolean', default: false } } })
process.exitCode = await setup(values.tests)
if (values.tests && isInstalled('mmdebstrap')) await makeTree()
