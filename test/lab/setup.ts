/**
 * `npm run setup`: installs what the demo needs and this machine lacks; with --tests also the real parts that the tests
 * are about, and the system that machines in tests boot from. No service is left running or enabled that was not
 * before.
 */
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { $, ProcessOutput } from 'zx/core'
import { findProgram } from './programs.ts'

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
  { command: 'tar', debian: 'tar', brew: '' },
  { command: 'bsdtar', debian: 'libarchive-tools', brew: 'libarchive' },
  { command: 'script', debian: 'bsdutils', brew: '' },
  { command: 'strace', debian: 'strace', brew: '' },
  { command: 'busybox', debian: 'busybox', brew: '' },
  { command: 'chromium', debian: 'chromium', brew: '' },
  { command: 'ksh', debian: 'ksh', brew: 'ksh' },
  { command: 'zsh', debian: 'zsh', brew: 'zsh' },
  { command: 'fish', debian: 'fish', brew: 'fish' },
  { command: 'csh', debian: 'csh', brew: 'tcsh' },
  { command: 'shellcheck', debian: 'shellcheck', brew: 'shellcheck' },
  { command: 'systemd-analyze', debian: 'systemd', brew: '' },
  { command: 'promtool', debian: 'promtool', brew: 'prometheus' },
  { command: 'systemd-nspawn', debian: 'systemd-container', brew: '' },
  { command: 'mmdebstrap', debian: 'mmdebstrap', brew: '' },
  { command: 'ip', debian: 'iproute2', brew: '' },
  { command: 'age', debian: 'age', brew: 'age' },
  { command: 'update-ca-certificates', debian: 'ca-certificates', brew: '' },
]

const enabledIn = '/etc/systemd/system'
const policy = '/usr/sbin/policy-rc.d'
const run = $({ stdio: 'inherit', quiet: true, prefix: '', shell: '/bin/sh' })
const ask = $({ quiet: true, nothrow: true, prefix: '', shell: '/bin/sh' })

async function setup(withTests: boolean): Promise<number> {
  const isMissing = ({ command }: Part) => findProgram(command) === undefined
  const missing = [...demo, ...(withTests ? tests : [])].filter(isMissing)
  if (missing.length > 0) {
    say(`Missing here: ${missing.map(({ command }) => command).join(', ')}`)
    await install(missing)
  }
  const left = missing.filter(isMissing)
  if (left.length === 0) say('Everything that is needed is here.')
  else say(`Still missing: ${left.map(({ command }) => command).join(', ')}.`)
  if (left.length > 0 && withTests) say('Tests that need them are skipped.')
  if (withTests && findProgram('mmdebstrap')) await makeTree()
  return left.some((part) => demo.includes(part)) ? 1 : 0
}

async function install(missing: readonly Part[]): Promise<void> {
  const packages = [...new Set(missing.map(({ debian }) => debian))]
  const formulae = [...new Set(missing.flatMap(({ brew }) => brew || []))]
  if (findProgram('apt-get')) await installByApt(packages)
  else if (findProgram('brew')) await run`brew install ${formulae}`
  else say(`There is neither apt-get nor brew here. Debian has them in the packages ${packages.join(' ')}.`)
}

async function installByApt(packages: readonly string[]): Promise<void> {
  const root = process.getuid?.() === 0 ? [] : ['sudo']
  if (root[0] && !findProgram(root[0]))
    return say(`There is no sudo here. As root: apt-get install --no-install-recommends ${packages.join(' ')}`)
  say(`Installing with apt-get: ${packages.join(' ')}`)
  await run`${root} apt-get -q update`
  const desired: string[] = []
  for (const name of packages)
    if (/Candidate: \d/.test((await ask`apt-cache policy ${name}`).stdout)) desired.push(name)
    else say(`This system's archive does not have ${name}: skipped.`)
  if (desired.length > 0)
    await withoutServices(
      root,
      () => run`${root} env DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends ${desired}`,
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

/** So that no test waits for it. */
async function makeTree(): Promise<void> {
  if (process.getuid?.() !== 0)
    return say(
      'Tests on machines need root, and are skipped without. As root, this command makes the system they boot from.',
    )
  say('Making the system that machines in tests boot from, where it is not there yet.')
  await run`sh ${join(import.meta.dirname, 'machines/tree.sh')}`
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

const { values } = parseArgs({ options: { tests: { type: 'boolean', default: false } } })
process.exitCode = await setup(values.tests).catch((error) => {
  if (!(error instanceof ProcessOutput)) throw error
  say('That failed for the reason above. Install these packages as root, then run this again.')
  return 1
})
