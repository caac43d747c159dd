/**
 * Metrics for node_exporter's textfile collector, and what a run leaves in them when it ends. Pure.
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */

type MetricValue = number | boolean | Date | undefined

/** A metric, and its value for each set of labels; an undefined one has no line. */
export function family<T = MetricValue>(
  name: string,
  help: string,
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
  return lines.length === 0 ? [] : [`# HELP harderway_${name} ${help}`, `# TYPE harderway_${name} gauge`, ...lines]
}

export function formatLines(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('')
}

/** The metrics, with this run in place of the one before. */
export function replaceLastRun(
  metrics: string,
  { cluster, ended, exit }: { readonly cluster: string; readonly ended: Date; readonly exit: number },
): string {
  return formatLines([
    ...metrics.split('\n').filter((line) => line !== '' && !isOfLastRun(line)),
    ...family('last_run_timestamp_seconds', 'When the last run over everything ended.', [[{ cluster }, ended]]),
    ...family('last_run_exit_status', 'Exit status of the last run over everything.', [[{ cluster }, exit]]),
  ])
}

export function isOfLastRun(line: string): boolean {
  return /^(# \w+ )?harderway_last_run_/.test(line)
}
