/** Units that end again and again, one life after the other, and looks at them at random moments. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Machine } from '../lab/machines/machine.ts'
import type { Machines } from '../lab/machines/machines.ts'
import { eventually } from './eventually.ts'
import { messageOf } from './harderway.ts'

/** Seconds that a process lives; 'slow' is one that does not serve yet. */
type Life = number | 'slow'
const lives: readonly Life[] = [0, 0.05, 1, 4, 15, 'slow']

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
  machine.write('/etc/systemd/system/kube-proxy.service', ['[Service]', ...service, ''].join('\n'))
  await machine.exec(`mkdir -p /var/lib/kube-proxy; [ -e ${kubeconfig} ] || cp /home/ubuntu/kube-proxy.kubeconfig ${kubeconfig}
    systemctl daemon-reload; systemctl restart kube-proxy`)
}

/** How often systemd has restarted it. */
export async function restartsOf(machine: Machine): Promise<number> {
  return Number(await machine.exec('systemctl show --value -p NRestarts kube-proxy'))
}

interface Sweep {
  readonly looks: number
  /** Seconds until systemd restarts a unit that has ended. */
  readonly restartsAfter: number
  /** From 0 to 1. */
  readonly random: () => number
}

/** What looks that found everything up to date said, and of how many. */
export async function sweepLives(lab: Machines, { looks, restartsAfter, random }: Sweep) {
  const fresh: string[] = []
  const [machine] = lab.all
  if (machine === undefined) throw new Error('no machine')
  for (const life of lives) {
    await live(machine, life, restartsAfter)
    // Before its first end nothing tells it from a healthy one.
    if (life !== 'slow')
      await eventually(async () => {
        if ((await restartsOf(machine)) === 0) throw new Error('it has not ended yet')
      })
    for (let look = 0; look < looks; look++) {
      await delay(random() * 1000 * ((life === 'slow' ? 0 : life) + restartsAfter))
      const ran = await lab.run('install', '--node', machine.name, '--dry-run', '--json')
      if (ran.status !== 4) fresh.push(`${life} s: ${ran.status} ${messageOf(ran, `install/${machine.name}`)}`)
    }
  }
  return { fresh, looks: looks * lives.length }
}
