/** Units that end again and again, one life after the other, and looks at them at random moments. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Machine } from '../lab/machines/machine.ts'
import type { Machines } from '../lab/machines/machines.ts'
import { eventually } from './eventually.ts'
import { idsOf, messageOf } from './harderway.ts'
import { split } from './running.ts'

/** Seconds that a process lives; 'slow' is one that does not serve yet. */
type Life = number | 'slow'
const lives = [0, 0.05, 1, 4, 15]
/** Seconds between two looks, at most. */
const longest = 16

const kubeconfig = '/var/lib/kube-proxy/kubeconfig'
const healthy = "require('node:http').createServer((_, answer) => answer.end('ok')).listen(10256, '127.0.0.1')"

function commandOf(life: Life): string {
  if (life === 'slow') return 'sleep infinity'
  // Node needs longer to begin.
  if (life < 0.5) return `sh -c 'sleep ${life}; exit 1'`
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

/** How often systemd has restarted it. */
export async function restartsOf(machine: Machine): Promise<number> {
  return Number(await machine.exec('systemctl show --value -p NRestarts kube-proxy'))
}

/** Before its first end nothing tells it from a healthy one. */
export async function untilRestarted(machine: Machine, times = 1): Promise<void> {
  await eventually(async () => {
    const restarts = await restartsOf(machine)
    if (restarts < times) throw new Error(`${machine.name} was restarted ${restarts} of ${times} times`)
  })
}

interface Sweep {
  readonly looks: number
  /** Seconds until systemd restarts a unit that has ended. */
  readonly restartsAfter: number
  /** From 0 to 1. */
  readonly random: () => number
}

/** Each life on a machine of its own; returns what looks that found one of them up to date said. */
export async function sweepLives(lab: Machines, { looks, restartsAfter, random }: Sweep): Promise<string[]> {
  const machines = lab.all.filter(({ role }) => role !== 'gateway')
  if (machines.length !== lives.length) throw new Error(`${machines.length} machines for ${lives.length} lives`)
  const living = machines.map((machine, i) => ({ machine, life: lives[i] ?? 0 }))
  await Promise.all(living.map(({ machine, life }) => live(machine, life, restartsAfter)))
  for (const { machine } of living) await untilRestarted(machine)
  const wrong: string[] = []
  for (let look = 0; look < looks; look++) {
    await delay(random() * 1000 * longest)
    const ran = await lab.run('install', '--dry-run', '--json')
    const stale = idsOf(ran, 'stale')
    for (const { machine, life } of living)
      if (!stale.includes(`install/${machine.name}`))
        wrong.push(`${life} s, look ${look}: ${ran.status} ${messageOf(ran, `install/${machine.name}`)}`)
  }
  return wrong
}
