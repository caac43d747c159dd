/**
 * Who still uses an old certificate, as three API servers count it: a user, and on nodes a scheduler, a kubelet and a
 * kube-proxy that no search finds: their programs have other names, and their kubeconfigs are no copies.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../lab/machines/machines.ts'
import type { Edit } from '../support/harderway.ts'
import { eventually } from '../support/programs.ts'
import {
  getObject,
  mustRun,
  running,
  setFlags,
  shutdownDelay,
  skip,
  startRunning,
  statusOf,
  toldOf,
  unnoticed,
} from '../support/running.ts'

const controls = ['control0', 'control1', 'control2']
const jane = 'old/jane'
const users = ['jane', 'system:kube-scheduler', 'system:node:worker1', 'system:kube-proxy']

describe('who still uses a certificate that was replaced', { skip }, () => {
  let lab: Machines
  const write = (...edits: Edit[]) =>
    lab.write(...running({}, [['users'], [{ name: 'jane' }, { name: 'bob' }]], ...edits))
  const listing: Edit = [['revoked'], []]
  const on = (name: string, command: string) => lab.machine(name).exec(command)
  /** What no unit of cluster.yaml reads: as it is in auth/ now. */
  const bring = () => {
    const file = (name: string) => `${readFileSync(join(lab.place, 'auth', name), 'utf8')}# in other bytes\n`
    lab.machine('worker0').write('/srv/pod/kube-scheduler.kubeconfig', file('kube-scheduler.kubeconfig'))
    lab.machine('worker1').write('/srv/kubelet/kubeconfig', file('worker1.kubeconfig'))
    lab.machine('worker1').write('/srv/proxy/kubeconfig', file('kube-proxy.kubeconfig'))
  }
  const janes = () =>
    Promise.all(controls.map((name) => statusOf(lab, `https://${lab.machine(name).ip}:6443/version`, jane)))
  /** By user, on how many API servers it was used how often, as status says. */
  const usesIn = async () => {
    const { events } = await lab.run('status', '--on-nodes', '--json')
    const all = events.flatMap(({ type, uses }) =>
      type === 'node' ? ((uses ?? []) as { users: string[]; count: number }[]) : [],
    )
    const sum = (user: string) => all.reduce((sum, each) => sum + (each.users.join() === user ? each.count : 0), 0)
    return users.map((user) => [user, sum(user)] as const)
  }
  /** Jane makes requests, and so does kube-proxy, whose watches last up to 10 minutes, as it is started. */
  const ask = async () => {
    await janes()
    await on('worker1', 'systemctl restart node-proxy')
    const journal = 'journalctl --quiet _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID node-proxy)'
    await eventually(() => on('worker1', `${journal} | grep -E "Asked|aches are synced"`))
  }
  const whileAsking = async <T>(work: () => Promise<T>): Promise<T> => {
    let isOver = false
    const asking = (async () => {
      while (!isOver) await ask()
    })()
    try {
      return await work()
    } finally {
      isOver = true
      await asking
    }
  }

  /** A kubelet that is no machine of the lab renews its lease until an API server refuses jane. */
  const whileRenewing = async <T>(work: () => Promise<T>): Promise<T> => {
    const leases = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases'
    const send = (method: string, path: string, lease: object) =>
      getObject(lab, 'control1', path, `-X ${method} -d '${JSON.stringify(lease)}'`)
    const spec = () => ({ holderIdentity: 'worker9', renewTime: new Date().toISOString().replace('Z', '000Z') })
    const named = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'worker9' } }
    const ca = () => readFileSync(join(lab.place, 'auth/ca.pem'), 'utf8')
    const before = ca()
    let lease = await send('POST', leases, { ...named, spec: spec() })
    let isOver = false
    const renewing = (async () => {
      const isLoaded = async () => ca() !== before && (await janes()).includes('401')
      while (!isOver && !(await isLoaded())) lease = await send('PUT', `${leases}/worker9`, { ...lease, spec: spec() })
    })()
    try {
      return await work()
    } finally {
      isOver = true
      await renewing
    }
  }

  before(async () => {
    lab = await startRunning(shutdownDelay)
    write()
    await mustRun(lab, 0, 'bootstrap')
    write(listing)
    await setFlags(lab, await mustRun(lab, 4, 'bootstrap'), controls)
    await mustRun(lab, 0, 'bootstrap')
    await lab.exec('mkdir old; cp auth/jane.pem auth/jane-key.pem old')
    bring()
    const renamed = async (machine: string, program: string) =>
      (await on(machine, `cat /usr/local/bin/${program}`))
        .replace(/^exec (-a \S+ )?/m, 'exec -a runner ')
        .replace(/^#!.*/, '#!/bin/bash')
    lab
      .machine('worker0')
      .write('/usr/local/bin/run-scheduler', `${await renamed('control0', 'kube-scheduler')}\n`, 0o755)
    for (const program of ['kubelet', 'kube-proxy'])
      lab.machine('worker1').write(`/usr/local/bin/run-${program}`, `${await renamed('worker1', program)}\n`, 0o755)
    await on(
      'worker0',
      `mkdir -p /srv/pod; cat >/srv/pod/config.yaml <<'.'
${schedulerConfig}
.
      systemd-run --quiet --unit=pod unshare --mount sh -c 'mount --bind /srv/pod /var/lib/kubernetes && exec run-scheduler --config=/var/lib/kubernetes/config.yaml'`,
    )
    await on(
      'worker1',
      `cd /etc/systemd/system; systemctl disable --quiet --now kubelet kube-proxy
      sed 's#/var/lib/kubelet/kubeconfig#/srv/kubelet/kubeconfig#; s#/usr/local/bin/#&run-#' kubelet.service >k8s-kubelet.service
      sed "s#/usr/local/bin/#&run-#; s#^ExecStart=#&/usr/bin/unshare --mount sh -c 'mount --bind /srv/proxy/kubeconfig /var/lib/kube-proxy/kubeconfig \\&\\& exec \\"\\$\\$@\\"' sh #" kube-proxy.service >node-proxy.service
      rm kubelet.service kube-proxy.service; systemctl daemon-reload; systemctl start k8s-kubelet node-proxy`,
    )
    await eventually(() => on('worker1', 'systemctl is-active k8s-kubelet node-proxy'))
  })
  after(() => lab?.stop())

  test('each is counted, a user by name: twelve requests are said to be twelve', async () => {
    await mustRun(lab, 0, 'rotate', 'ca')
    for (const _ of [1, 2, 3, 4]) await janes()
    const told = toldOf(await lab.run('status', '--on-nodes'))
    assert.match(
      told,
      /jane's earlier certificate is accepted until \S+ \(12 requests counted on control0, control1, control2 since [^)]+\): give jane the new jane\.kubeconfig/,
    )
    assert.match(told, /bob's earlier certificate is accepted until \S+ \(not used since [^)]+\): give bob/)
    await eventually(async () => {
      await ask()
      const uses = await usesIn()
      assert.ok(
        uses.every(([, count]) => count > 0),
        JSON.stringify(uses),
      )
    })
    // A run has nothing to list anew.
    await mustRun(lab, 0, 'bootstrap')
    await mustRun(lab, 0, 'report', '--format', 'prometheus', '--on-nodes')
    assert.match(
      await lab.exec('cat auth/report.prom'),
      /^harderway_earlier_certificate_requests\{.*"control2","?name"?="jane"\} [1-9]/m,
    )
  })

  test('each holds --finish, which no request of the others notices; none does once it has the new one', async () => {
    await unnoticed(lab, async () => {
      const held = await whileAsking(() => mustRun(lab, 3, 'rotate', 'ca', '--finish'))
      for (const user of users)
        assert.match(toldOf(held), RegExp(`${user} made \\d+ requests? with a certificate of the old CA`), user)
      assert.doesNotMatch(toldOf(held), /bob made/)
      bring()
      await on('worker0', 'systemctl restart pod || true')
      await on('worker1', 'systemctl restart k8s-kubelet node-proxy')
      // A real one reads its pair again within 5 minutes, for which no run waits here.
      for (const name of [...controls, 'worker0']) await on(name, 'systemctl restart kubelet kube-proxy')
      await Promise.all(lab.guide.checks.map((check) => eventually(() => lab.exec(check))))
      // A kubelet's lease stops as the first API server trusts the next CA alone.
      const stopped = await whileRenewing(() => mustRun(lab, 1, 'rotate', 'ca', '--finish'))
      assert.match(toldOf(stopped), /worker9 renewed no lease for 60 s/)
      assert.deepEqual((await janes()).toSorted(), ['200', '200', '401'])
      await mustRun(lab, 0, 'rotate', 'ca', '--finish')
    })
    assert.deepEqual(await janes(), ['401', '401', '401'])
    for (const name of ['jane', 'kube-scheduler', 'worker1', 'kube-proxy'])
      assert.equal(await statusOf(lab, 'https://kubernetes:6443/version', `auth/${name}`), '200', name)
    const uses = await usesIn()
    assert.deepEqual(
      uses.map(([, count]) => count),
      [0, 0, 0, 0],
    )
  })
})

const schedulerConfig = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection:
  kubeconfig: /var/lib/kubernetes/kube-scheduler.kubeconfig
leaderElection:
  leaderElect: true`
