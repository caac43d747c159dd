/**
 * Metrics for node_exporter's textfile collector, and what a run leaves in them when it ends. Pure.
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */

type Labels = Readonly<Record<string, string>>
export type Value = number | boolean | Date | undefined

/** A metric, and its value for each set of labels; an undefined one has no line. */
export function family(name: string, help: string, samples: readonly (readonly [Labels, Value])[]): string[] {
  const lines = samples.flatMap(([each, value]) =>
    value === undefined ? [] : [`harderway_${name}${labels(each)} ${numberOf(value)}`],
  )
  return lines.length === 0 ? [] : [`# HELP harderway_${name} ${help}`, `# TYPE harderway_${name} gauge`, ...lines]
}

function numberOf(value: NonNullable<Value>): number {
  return value instanceof Date ? Math.floor(value.getTime() / 1000) : Number(value)
}

function labels(values: Labels): string {
  const quoted = (value: string) => value.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n')
  return `{${Object.entries(values)
    .map(([name, value]) => `${name}="${quoted(value)}"`)
    .join(',')}}`
}

export function formatLines(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('')
}

interface LastRun {
  readonly cluster: string
  readonly ended: Date
  readonly exit: number
}

/** The metrics, with this run in place of the one before. */
export function replaceLastRun(metrics: string, { cluster, ended, exit }: LastRun): string {
  return formatLines([
    ...metrics.split('\n').filter((line) => line !== '' && !isOfLastRun(line)),
    ...family('last_run_timestamp_seconds', 'When the last run ended.', [[{ cluster }, ended]]),
    ...family('last_run_exit_status', 'Exit status of the last run.', [[{ cluster }, exit]]),
  ])
}

/** The lines that the last run has left in the metrics. */
export function readLastRun(metrics: string): string[] {
  return metrics.split('\n').filter(isOfLastRun)
}

function isOfLastRun(line: string): boolean {
  return /^(# \w+ )?harderway_last_run_/.test(line)
}
