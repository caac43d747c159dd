/**
 * Metrics for node_exporter's textfile collector, and what a run leaves in them when it ends. Pure.
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */

type MetricValue = number | boolean | Date | undefined

const ofItem = ['id', 'node', 'purpose']
const ofNode = ['node']

/** The labels of each besides `cluster`, and its HELP; docs/everyday.md has both (`npm run docs`). */
export const metrics = {
  not_after_timestamp_seconds: { labels: ofItem, help: 'Expiry of the certificate, or of the one in the kubeconfig.' },
  end_timestamp_seconds: { labels: ofItem, help: 'Effective expiry: the earliest along the chain.' },
  fresh: { labels: ofItem, help: '1 if it is up to date, else 0.' },
  node_inspected: { labels: ofNode, help: '1 if the node was inspected, else 0.' },
  node_deployed: { labels: ofNode, help: '1 if the node has the files of auth/, else 0.' },
  node_installed: { labels: ofNode, help: '1 if these files are where its units read them, else 0.' },
  node_loaded: { labels: ofNode, help: '1 if its units have loaded them, else 0.' },
  node_api_server_end_timestamp_seconds: {
    labels: ofNode,
    help: 'Expiry of the loopback certificate of its API server.',
  },
  revoked_entries: { labels: [], help: 'Number of entries of revoked in cluster.yaml.' },
  revoked_in_force: {
    labels: ofNode,
    help: 'Number of these entries that its API server denies; 0 if it does not run.',
  },
  unneeded_certificate_end_timestamp_seconds: {
    labels: ['name'],
    help: 'Expiry of a certificate that cluster.yaml no longer needs.',
  },
  earlier_certificate_end_timestamp_seconds: {
    labels: ['name'],
    help: 'Expiry of an earlier certificate of a user, who may still have it.',
  },
  rotation_stage: { labels: ['rotation'], help: 'Stage of the rotation in progress, else 0.' },
  report_timestamp_seconds: { labels: [], help: 'Time of this report.' },
  last_run_timestamp_seconds: { labels: [], help: 'End of the last run of bootstrap over everything, or of rotate.' },
  last_run_exit_status: { labels: [], help: 'Exit status of that run.' },
} as const satisfies Readonly<Record<string, { readonly labels: readonly string[]; readonly help: string }>>

export function family<T = MetricValue>(
  name: keyof typeof metrics,
  samples: readonly (readonly [labels: Readonly<Record<string, string>>, T])[],
  read: (of: T) => MetricValue = (of) => of as MetricValue,
): string[] {
  const lines = samples.flatMap(([labels, of]) => {
    // JSON escapes what Prometheus does, and no label here has more.
    const pairs = Object.entries(labels).map(([label, text]) => `${label}=${JSON.stringify(text)}`)
    const value = read(of)
    const number = value instanceof Date ? Math.floor(value.getTime() / 1000) : Number(value)
    return value === undefined ? [] : [`harderway_${name}{${pairs}} ${number}`]
  })
  return lines.length === 0
    ? []
    : [`# HELP harderway_${name} ${metrics[name].help}`, `# TYPE harderway_${name} gauge`, ...lines]
}

export function formatLines(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('')
}

export function replaceLastRun(
  metrics: string,
  { cluster, ended, exit }: { readonly cluster: string; readonly ended: Date; readonly exit: number },
): string {
  return formatLines([
    ...metrics.split('\n').filter((line) => line !== '' && !isOfLastRun(line)),
    ...family('last_run_timestamp_seconds', [[{ cluster }, ended]]),
    ...family('last_run_exit_status', [[{ cluster }, exit]]),
  ])
}

export function isOfLastRun(line: string): boolean {
  return /^(# \w+ )?harderway_last_run_/.test(line)
}
