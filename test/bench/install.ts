/**
 * `install` on the guide's machines: renewed files beside a bare script that copies the same and restarts nothing
 * either; and a look, with 20 ms round trips, beside the same look without `install`.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { installAll } from '../lab/machines/components.ts'
import { type Machines, startMachines } from '../lab/machines/machines.ts'
import type { Edit } from '../support/harderway.ts'
import { running } from '../support/running.ts'
import { type Group, inSeconds } from './groups.ts'
import { timed } from './process.ts'

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url))
const bare = 'beside a bare script'

export const installGroup: Group = {
  pairs: 3,
  parts: ['systemd-nspawn', 'mmdebstrap', 'ip', 'etcdctl', 'curl'],
  rows: [
    inSeconds(`install, all of it renewed, six machines, kubelets of 1.36, ${bare}`, 'renewed', 'script', 1),
    inSeconds(`install, all of it renewed, 20 ms round trips, ${bare}`, 'farRenewed', 'farScript', 1),
    inSeconds('install, nothing to do, 20 ms round trips, beside deploy alone', 'look', 'deploy', 1.35),
  ],
  async prepare(_, cleanUp) {
    const lab = cleanUp.use(await startMachines())
    const run = async (...args: string[]) => {
      const { status, stdout, stderr } = await lab.run(...args, '--quiet')
      assert.equal(status, 0, stdout + stderr)
    }
    // No drain: the script has none.
    const edits = running({ drain: '', undrain: '' })
    lab.write(...edits)
    await run('bootstrap')
    await installAll(lab)
    // Once, so that kubeconfigs name their pairs by file. The script restarts no kubelets, and those of the lab need
    // none.
    await run('install')
    const far = await startRelays(lab, 10, cleanUp)
    const renewed = (nodes: readonly Edit[], work: () => Promise<unknown>) => async () => {
      lab.write(...edits, ...nodes)
      await run('certs', 'kubeconfigs', '--force')
      return timed(work)
    }
    /** After once that is not measured, so that there is nothing to do. */
    const idle =
      (phase: string, ...more: readonly Edit[]) =>
      async () => {
        lab.write(...edits, far.nodes, ...more)
        await run(phase)
        return timed(() => run(phase))
      }
    const update = () => run('deploy', 'install')
    const script = (config: string) => () => lab.exec(`sh ${here('bare-install.sh')} ${config}`)
    return {
      renewed: renewed([], update),
      script: renewed([], script('lab/ssh_config')),
      farRenewed: renewed([far.nodes], update),
      farScript: renewed([far.nodes], script(far.config)),
      look: idle('install'),
      deploy: idle('deploy', [['install'], undefined]),
    }
  },
}

/** In the machines' network, where the runs are too. */
async function startRelays(
  lab: Machines,
  delayMs: number,
  cleanUp: AsyncDisposableStack,
): Promise<{ readonly nodes: Edit; readonly config: string }> {
  const [first = '', ...args] = [...lab.within, process.execPath, here('relays.ts'), String(delayMs)]
  const child = spawn(first, [...args, ...lab.all.map(({ ip }) => ip)], { stdio: ['pipe', 'pipe', 'inherit'] })
  cleanUp.defer(async () => {
    child.stdin.end()
    await once(child, 'exit')
  })
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data')
  const ports: number[] = JSON.parse(line)
  const known = join(lab.place, 'lab/known_hosts')
  const keys = readFileSync(known, 'utf8').split('\n')
  const nodes = lab.all.map(({ name, role, ip }, i) => {
    const key = keys.find((each) => each.startsWith(`${name},`))?.replace(/^\S+/, `[127.0.0.1]:${ports[i]}`)
    appendFileSync(known, `${key}\n`)
    return { name, role, ip, host: '127.0.0.1', port: ports[i] }
  })
  const config = 'lab/far_config'
  const hosts = lab.all.map(({ name }, i) => `Host ${name}\n  HostName 127.0.0.1\n  Port ${ports[i]}\n`)
  writeFileSync(join(lab.place, config), hosts.join('') + readFileSync(join(lab.place, 'lab/ssh_config'), 'utf8'))
  return { nodes: [['nodes'], nodes], config }
}
