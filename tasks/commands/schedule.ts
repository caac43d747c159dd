/** `schedule`: a systemd service and timer that run bootstrap every day, unattended. */
import { mkdirSync } from 'node:fs'
import { userInfo } from 'node:os'
import { delimiter, join } from 'node:path'
import { doing } from '../../lib/failure.ts'
import { caName } from '../../lib/files/auth-dir.ts'
import { checkOutput, writeOutput } from '../../lib/files/plain-file.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { escapeSpecifiers, formatExec, quote, quoteInUnit } from '../../lib/wording.ts'
import { type CommandRun, kubectlFiles } from '../run/command-run.ts'
import { type ExitCause, pathOf, program } from '../run/host.ts'

/** Where the textfile collector of Debian's prometheus-node-exporter reads. */
const collectorFolder = '/var/lib/prometheus/node-exporter'

export async function schedule(given: CommandRun): Promise<readonly ExitCause[]> {
  const { auth, cluster, host, options, print } = given
  const name = `harderway-${cluster.name.replace(/[^\w.-]/g, '-')}`
  const files = Object.entries(formatFiles(given, name))
  if (options.write === undefined) {
    for (const [each, text] of files)
      print(options.json ? formatJsonLine({ type: 'file', name: each, text }) : `# ${each}\n${text}`)
    return []
  }
  const folder = pathOf(host, options.write)
  for (const [each] of files) checkOutput(join(folder, each), auth.path)
  doing('create the directory', folder, () => mkdirSync(folder, { recursive: true }))
  for (const [each, text] of files) {
    const path = join(folder, each)
    writeOutput(path, text)
    print(options.json ? formatJsonLine({ type: 'file', name: each, path }) : path)
  }
  if (options.json || options.quiet) return []
  const [service, timer] = files.map(([each]) => quote(join(folder, each)))
  print(`install with systemd:
    sudo cp ${service} ${timer} /etc/systemd/system/
    sudo systemctl enable --now ${name}.timer`)
  if (!cluster.install)
    print(
      'without install in cluster.yaml, the service only copies renewed files to nodes; copy them to where units read them and restart the units yourself',
    )
  return []
}

function formatFiles(given: CommandRun, name: string): Record<string, string> {
  const { auth, cluster, file, host, options } = given
  const folder = host.cwd()
  const config = ['--config', file]
  const output = options.output === undefined ? join(collectorFolder, `${name}.prom`) : pathOf(host, options.output)
  checkOutput(output, auth.path)
  const run = [...program, 'bootstrap', ...config]
  const report = [...program, 'report', '--format', 'prometheus', '--on-nodes', ...config, '--output', output]
  // Unattended no new identity is made: auth/ may be on a disk that is not mounted.
  const ca = join(auth.path, auth.files.certificate(caName))
  const isRead = cluster.localKubeconfig && cluster.localKubeconfig.path === undefined && host.env.KUBECONFIG
  const kubeconfig = isRead ? `KUBECONFIG=${kubectlFiles(host).join(delimiter)}` : undefined
  const description = `Description=harderway bootstrap of ${escapeSpecifiers(cluster.name)}`
  // More than these directives could break what ssh needs on this machine.
  const service = `[Unit]
${description}
Wants=network-online.target time-sync.target
After=network-online.target time-sync.target
AssertPathExists=${escapeSpecifiers(ca)}

[Service]
Type=oneshot
User=${userInfo().username}
WorkingDirectory=${escapeSpecifiers(folder)}
${kubeconfig === undefined ? '' : `Environment=${quoteInUnit(kubeconfig)}\n`}ExecStart=${formatExec(run)}
# Writes metrics of the nodes and of the run. Its failure is ignored.
ExecStopPost=-${formatExec(report)}
TimeoutStopSec=10min

NoNewPrivileges=yes
PrivateTmp=yes
UMask=0077
`
  const timer = `[Unit]
${description}, every day

[Timer]
OnCalendar=daily
RandomizedDelaySec=2h
# Runs at the next boot if the machine was down.
Persistent=true

[Install]
WantedBy=timers.target
`
  return { [`${name}.service`]: service, [`${name}.timer`]: timer }
}
