/** What targets work on: handed to them, so that they know neither where auth/ is nor what time it is. */
import type { AuthDir } from './auth-dir.ts'
import type { Cluster } from './cluster.ts'

export interface Workspace {
  readonly cluster: Cluster
  readonly auth: AuthDir
  /** One moment for the whole run. */
  readonly now: Date
  /** The cluster.yaml in use: paths in it are relative to its folder. */
  readonly file: string
  readonly options: { readonly replaceIdentity: boolean; readonly prune: boolean }
}
