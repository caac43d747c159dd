/** The guide's next chapters on a machine: what its setupcontrol.sh, setupnode.sh and setupgateway.sh do. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { balancerConfig, balancerScript } from './balancer.ts'
import type { Machine } from './machine.ts'
import { realBinaries } from './shared.ts'
import { controlUnits, nodeUnits, type Unit, unitText } from './units.ts'

/**
 * Copies what was deployed into its places, with the modes it has, writes the units, enables and starts them, as the guide
 * does. They start side by side: etcd waits for its other members, the rest for etcd.
 */
export async function installComponents(machine: Machine): Promise<void> {
  if (machine.role === 'gateway') return await installBalancer(machine)
  const units = [...(machine.role === 'control' ? controlUnits(machine) : []), ...nodeUnits(machine)]
  for (const unit of units) writeUnit(machine, unit)
  const names = units.map(({ name }) => name).join(' ')
  await machine.exec(`set -e; cd /home/ubuntu
    ${units.flatMap(copies).join('\n')}
    mkdir -p -m 700 /var/lib/etcd
    systemctl daemon-reload
    systemctl enable --quiet ${names}
    systemctl start ${names}`)
}

function writeUnit(machine: Machine, unit: Unit): void {
  machine.write(`/usr/local/bin/${unit.name}`, program(unit.name), 0o755)
  // In the place of the mask for Debian's own etcd.
  machine.write(`/etc/systemd/system/${unit.name}.service`, unitText(unit))
  for (const [path, text] of Object.entries(unit.texts ?? {})) machine.write(path, text)
}

function copies({ files }: Unit): string[] {
  return Object.entries(files).map(
    ([place, names]) => `mkdir -p ${place.slice(0, place.lastIndexOf('/'))}; cp ${names.join(' ')} ${place}`,
  )
}

/** The real one where there is one: of etcd in any case. */
function program(name: string): string {
  const real = realBinaries && existsSync(join(process.env.KUBE_BIN_DIR ?? '', name)) && `${realBinaries}/${name}`
  const command = real || (name === 'etcd' ? '/usr/bin/etcd' : `/opt/lab/node /opt/lab/component/component.ts ${name}`)
  return `#!/bin/sh\nexec ${command} "$@"\n`
}

async function installBalancer(machine: Machine): Promise<void> {
  machine.write('/etc/haproxy/haproxy.cfg', balancerConfig)
  machine.write('/usr/local/bin/balance', balancerScript, 0o755)
  await machine.exec(`set -e
    cp /home/ubuntu/ca.pem /usr/local/share/ca-certificates/kubernetes-ca.crt
    update-ca-certificates >/dev/null 2>&1
    systemctl enable --quiet haproxy
    systemctl start haproxy`)
}
