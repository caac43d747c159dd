/**
 * A renewal of every certificate, watched until each client certificate is in use: `npm run test:long`. It takes some
 * eight minutes.
 */
import assert from 'node:assert/strict'
import { setTimeout as wait } from 'node:timers/promises'
import { installAll } from '../lab/machines/components.ts'
import { startMachines } from '../lab/machines/machines.ts'
import { kubernetesVersion } from '../lab/machines/shared.ts'
import { mustRun, probe, readStarts, restartedKubelets, running, startedSince } from '../support/running.ts'

/** Seconds: client-go polls every 300, and harderway promises 330. */
const watched = 400

await using lab = await startMachines()
// A renewal needs no drain.
lab.write(...running({ drain: '', undrain: '' }))
await mustRun(lab, 0, 'bootstrap')
await installAll(lab)
await mustRun(lab, 0, 'install')
const starts = await readStarts(lab)
await using probing = probe(lab)
await mustRun(lab, 0, 'certs', '--force')
await mustRun(lab, 0, 'bootstrap')
await wait(watched * 1000)
const { counts, failures, cut } = await probing.end()
assert.deepEqual([failures, cut], [[], 0])
assert.deepEqual(await startedSince(lab, starts), restartedKubelets)
const readers = [
  ...lab.of('control').flatMap(({ name }) => ['kube-controller-manager', 'kube-scheduler'].map((unit) => [name, unit])),
  ...[...lab.of('control'), ...lab.of('worker')].map(({ name }) => [name, 'kube-proxy']),
]
for (const [name = '', unit = ''] of readers)
  assert.match(await lab.machine(name).journal(unit), /certificate rotation detected/i, `${name} ${unit}`)
process.stdout.write(
  `renewed, Kubernetes ${kubernetesVersion}: ${counts.reduce((a, b) => a + b)} requests in ${watched} s, 0 failed, ${restartedKubelets.length} processes restarted (kubelets)\n`,
)
