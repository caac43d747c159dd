/** A guide's next chapters on a machine: what its setupcontrol.sh, setupnode.sh and setupgateway.sh do. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { eventually } from '../../support/programs.ts'
import { balancerConfig, balancerScript, directorUnit } from './balancer.ts'
import type { Guide } from './guide.ts'
import type { Machine } from './machine.ts'
import type { Machines } from './machines.ts'
import { compileCache, realBinaries } from './shared.ts'
import { type Unit, unitText } from './unit.ts'

/** Resolves when all are healthy. */
export async function installAll(lab: Machines, prepare = ''): Promise<void> {
  await startAll(lab, prepare)
  await allWell(lab)
}

/**
 * On all of them at once, since etcd does not start before its second member does.
 * `prepare` is run by sh on each node between the copying and the start.
 */
export async function startAll(lab: Machines, prepare: string): Promise<void> {
  await Promise.all(lab.all.map((machine) => installComponents(lab.guide, machine, prepare)))
}

/** In a limited time. */
export async function allWell(lab: Machines): Promise<void> {
  await Promise.all(lab.guide.checks.map((check) => eventually(() => lab.exec(check))))
  await Promise.all(
    lab.all.map((machine) => eventually(() => machine.exec(`systemctl is-active ${unitsOf(lab.guide, machine)}`))),
  )
}

/** Names of the units of the guide's next chapters. */
function unitsOf(guide: Guide, machine: Machine): string {
  if (machine.role === 'gateway') return 'haproxy ldirectord'
  return guide
    .units(machine)
    .map(({ name }) => name)
    .join(' ')
}

/**
 * Copies what was deployed into its places, with the modes it has, writes the units, enables and starts them, as the
 * guide does. They start side by side: etcd waits for its other members, the rest for etcd.
 */
async function installComponents(guide: Guide, machine: Machine, prepare: string): Promise<void> {
  if (machine.role === 'gateway') return await installBalancer(machine)
  const units = guide.units(machine)
  for (const unit of units) writeUnit(machine, unit)
  const names = unitsOf(guide, machine)
  await machine.exec(`set -e; cd ${guide.home}
    ${units.flatMap(copies).join('\n')}
    ${prepare}
    systemctl daemon-reload
    systemctl enable --quiet ${names}
    systemctl start ${names}`)
}

function writeUnit(machine: Machine, unit: Unit): void {
  machine.write(`/usr/local/bin/${unit.name}`, program(unit.name), 0o755)
  // For etcd in place of Debian's own, which is in /usr/lib.
  machine.write(`/etc/systemd/system/${unit.name}.service`, unitText(unit))
  for (const [path, text] of Object.entries(unit.texts ?? {})) machine.write(path, text)
}

function copies({ files = {} }: Unit): string[] {
  return Object.entries(files).map(
    ([place, names]) => `mkdir -p ${place.slice(0, place.lastIndexOf('/'))}; cp ${names.join(' ')} ${place}`,
  )
}

/**
 * The real one where there is one: of etcd in any case. A stand-in has the component's name in its command line, too.
 */
function program(name: string): string {
  const real = realBinaries && existsSync(join(process.env.KUBE_BIN_DIR ?? '', name)) && `${realBinaries}/${name}`
  if (real || name === 'etcd') return `#!/bin/sh\nexec ${real || '/usr/bin/etcd'} "$@"\n`
  return `#!/bin/bash
export NODE_COMPILE_CACHE=${compileCache} STAND_IN_CLIENT_POLL=5000 STAND_IN_AUTHORIZATION_POLL=1000
exec -a /usr/local/bin/${name} /opt/lab/node /opt/lab/component/component.ts ${name} "$@"
`
}

async function installBalancer(machine: Machine): Promise<void> {
  machine.write('/etc/haproxy/haproxy.cfg', balancerConfig)
  machine.write('/etc/systemd/system/ldirectord.service', directorUnit)
  machine.write('/usr/local/bin/balance', balancerScript, 0o755)
  await machine.exec(`set -e
    cp /home/ubuntu/ca.pem /usr/local/share/ca-certificates/kubernetes-ca.crt
    update-ca-certificates >/dev/null 2>&1
    systemctl daemon-reload
    systemctl enable --quiet haproxy ldirectord
    systemctl start haproxy ldirectord`)
}
