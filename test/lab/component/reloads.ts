/** The metrics of the encryption config that an API server reloads: apiserver's encryptionconfig/metrics. */
import { createHash } from 'node:crypto'
import { isSince } from './version.ts'

/** Of which API server: the real one has the hash of its name. */
const server = 'apiserver_id_hash="sha256:0"'

export class Reloads {
  readonly #done = new Map<'failure' | 'success', { count: number; last: number }>()

  count(status: 'failure' | 'success'): void {
    this.#done.set(status, { count: (this.#done.get(status)?.count ?? 0) + 1, last: Date.now() / 1000 })
  }

  /** `text`: the configuration in use, whose digest is there from the start on. */
  metrics(text: string): string {
    const row = (name: string, label: string, value: string) =>
      `apiserver_encryption_config_controller_${name}{${server},${label}} ${value}\n`
    const hash = createHash('sha256').update(text).digest('hex')
    return [
      ...[...this.#done].flatMap(([status, { count, last }]) => [
        row('automatic_reloads_total', `status="${status}"`, `${count}`),
        row('automatic_reload_last_timestamp_seconds', `status="${status}"`, last.toExponential()),
      ]),
      ...(isSince('1.34') ? [row('last_config_info', `hash="sha256:${hash}"`, '1')] : []),
    ].join('')
  }
}
