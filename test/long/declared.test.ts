/** Units as their owners write them, on machines: what a run prints is typed as it stands, until all is declared. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parse } from 'yaml'
import { allWell } from '../lab/machines/components.ts'
import type { Machines } from '../lab/machines/machines.ts'
import { type Edit, idsOf, writeCluster } from '../support/harderway.ts'
import { eventually } from '../support/programs.ts'
import { assertNothingLeft, mustRun, pasted, readStarts, skip, startedSince, toldOf } from '../support/running.ts'
import { startFollowed, takeOver } from '../support/taken-over.ts'

const [kubernetes, config] = ['/var/lib/kubernetes', '/etc/kubernetes/config/kube-scheduler.yaml']
/** What its owner does to a unit of a machine; run by sh in /etc/systemd/system. */
const shapes: Readonly<Record<string, string>> = {
  // A template, with a CA of its own path.
  server: `cp -p ${kubernetes}/ca.crt /srv/clients.crt
    sed 's,--client-ca-file=[^ ]*,--client-ca-file=/srv/clients.crt,' kube-apiserver.service >kube-apiserver@.service
    systemctl disable --quiet --now kube-apiserver; rm kube-apiserver.service
    # Another user, with a folder of its own.
    useradd --system scheduler
    install -d -o scheduler -m 700 /srv/scheduler
    cp -p ${kubernetes}/kube-scheduler* /srv/scheduler/; chown scheduler: /srv/scheduler/*
    sed -i 's,kubeconfig: .*,kubeconfig: /srv/scheduler/kube-scheduler.kubeconfig,' ${config}
    sed -i 's,^\\[Service\\]$,&\\nUser=scheduler,' kube-scheduler.service
    # A shell that waits for it.
    sed -i -E ':a; /\\\\$/{N; s/ *\\\\\\n */ /; ba}; s,^ExecStart=(.*)$,ExecStart=/bin/sh -c "\\1; true",' kube-controller-manager.service
    systemctl daemon-reload; systemctl enable --quiet --now kube-apiserver@1; systemctl restart kube-scheduler kube-controller-manager`,
  // A script that starts it, in its own place.
  'node-0': `printf '#!/bin/sh\\nexec /usr/local/bin/kubelet --config=/srv/kubelet.yaml --kubeconfig=/var/lib/kubelet/kubeconfig\\n' >/usr/local/bin/start-kubelet
    chmod +x /usr/local/bin/start-kubelet
    cp -p /var/lib/kubelet/kubelet.crt /srv/zero.crt; cp -p /var/lib/kubelet/kubelet.key /srv/zero.key
    sed 's,/var/lib/kubelet/kubelet\\.,/srv/zero.,' /var/lib/kubelet/kubelet-config.yaml >/srv/kubelet.yaml
    sed -i -E ':a; /\\\\$/{N; s/ *\\\\\\n */ /; ba}; s,^ExecStart=.*,ExecStart=/usr/local/bin/start-kubelet,' kubelet.service
    # A program of another name, as a container's runtime is.
    sed -E 's,^exec (-a [^ ]+ )?,exec -a runner ,; s,^#!.*,#!/bin/bash,' /usr/local/bin/kube-proxy >/usr/local/bin/runner
    chmod +x /usr/local/bin/runner; sed -i 's,/usr/local/bin/kube-proxy,/usr/local/bin/runner,' kube-proxy.service
    systemctl daemon-reload; systemctl restart kubelet kube-proxy`,
  // It differs, and one unit has never run since the node was started.
  'node-1': `cp -p /var/lib/kubelet/kubelet.crt /srv/one.crt; cp -p /var/lib/kubelet/kubelet.key /srv/one.key
    sed -i 's,/var/lib/kubelet/kubelet\\.,/srv/one.,' /var/lib/kubelet/kubelet-config.yaml
    cp -p /var/lib/kube-proxy/kube-proxy* /var/lib/kube-proxy/kubeconfig /srv/
    sed -i 's,/var/lib/kube-proxy/kubeconfig,/srv/kubeconfig,' /var/lib/kube-proxy/kube-proxy-config.yaml
    systemctl disable --quiet --now kube-proxy; systemctl reset-failed; systemctl restart kubelet`,
}

describe('units as their owners write them', { skip }, () => {
  let lab: Machines
  let text: string
  const edits: Edit[] = []
  const write = (...more: Edit[]) => {
    edits.push(...more)
    writeCluster(lab.place, edits, text)
  }
  const must = (status: number, ...args: string[]) => mustRun(lab, status, ...args)

  before(async () => {
    lab = await startFollowed()
    await allWell(lab)
    await takeOver(lab)
    text = readFileSync(join(lab.place, 'cluster.yaml'), 'utf8')
    await must(0, 'bootstrap')
    await Promise.all(
      Object.entries(shapes).map(([name, script]) =>
        lab.machine(name).exec(`set -e; cd /etc/systemd/system; ${script}`),
      ),
    )
    write([['install'], { units: { 'kube-apiserver': { unit: 'kube-apiserver@1' } } }])
    await eventually(() => lab.exec('kubectl get nodes -o name'))
  })
  after(() => lab?.stop())

  test('what contradicts cluster.yaml is one block, in plan, run and status; nothing is changed until it is pasted', async () => {
    const starts = await readStarts(lab)
    const blockOf = (told: string) => /replace install in cluster.*\n(?: .*\n)+/.exec(told)?.[0]
    const ran = await must(1, 'bootstrap')
    const block = blockOf(toldOf(ran)) ?? assert.fail(toldOf(ran))
    for (const args of [
      ['bootstrap', '--dry-run'],
      ['status', '--on-nodes'],
    ])
      assert.equal(blockOf(toldOf(await must(1, ...args))), block, args.join(' '))
    assert.deepEqual(await startedSince(lab, starts), [])
    write(...pasted(lab, ran))
    // What a declared --config names is seen only now.
    const second = await must(1, 'bootstrap')
    assert.match(toldOf(second), /install\/node-0: kubelet reads \S+ \(tlsCertFile\)/)
    write(...pasted(lab, second))
  })

  test('what can not be verified is 4, with what declares it; so is a unit file that systemd has not read', async () => {
    const { stdout } = await must(4, 'bootstrap')
    const [, line = ''] = /node-0: kube-proxy: [^;]*: say in cluster\.yaml what it reads: (.*)$/m.exec(stdout) ?? []
    const { install } = parse(`{ ${line.replace(/^install\.units:/, 'install: { units:')} } }`)
    write([['install', 'units', 'kube-proxy'], install.units['kube-proxy']])
    await lab.machine('node-0').exec('echo "# changed" >>/etc/systemd/system/kube-proxy.service')
    assert.match(
      (await must(4, 'bootstrap')).stdout,
      /on node-0, kube-proxy: its unit file .*; run systemctl daemon-reload/,
    )
    await lab.machine('node-0').exec('systemctl daemon-reload; systemctl restart kube-proxy')
    assert.doesNotMatch((await must(0, 'bootstrap')).stdout, /on node-0, kube-proxy/)
  })

  test('what is declared is where files go', async () => {
    await must(0, 'certs', '--force')
    await must(0, 'bootstrap')
    await must(0, 'status', '--on-nodes')
    assert.deepEqual(idsOf(await must(0, 'bootstrap', '--json'), 'built'), [])
    await assertNothingLeft(lab)
  })
})
