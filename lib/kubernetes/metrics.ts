/**
 * What a component's metrics say, in the text format of Prometheus. Each line is read by itself, in a time that follows
 * its length: a node may answer with anything. Pure.
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */

/** A sample: its labels as they stand there, and its value, NaN if it is no number. */
export interface Sample {
  readonly labels: string
  readonly value: number
}

export function samplesOf(metrics: string, name: string): Sample[] {
  return metrics.split('\n').flatMap((line) => {
    if (!line.startsWith(name)) return []
    const end = line.lastIndexOf(' ')
    const labels = line.slice(name.length, end)
    const isIt = labels === '' || (labels.startsWith('{') && labels.endsWith('}'))
    return isIt ? [{ labels: labels.slice(1, -1), value: Number(line.slice(end + 1) || Number.NaN) }] : []
  })
}

/** Undefined if it has no such label. For values without a quote. */
export function labelIn({ labels }: Pick<Sample, 'labels'>, name: string): string | undefined {
  const [, found] = `,${labels}`.split(`,${name}="`, 2)
  return found?.split('"', 1)[0]
}
