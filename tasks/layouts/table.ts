/** The guides whose clusters harderway knows, one row each. */
import type { Cluster, LayoutName } from '../../lib/cluster/cluster.ts'
import { hardWay } from './hard-way.ts'
import { harderWay, withOwnEtcd } from './harder-way.ts'
import type { Layout } from './layout.ts'

export const layouts: Readonly<Record<LayoutName, Layout>> = { 'harder-way': harderWay, 'hard-way': hardWay }

/** The parts of a cluster that determine what it consists of. */
export type LaidOut = Pick<Cluster, 'layout' | 'etcd'>

/** An etcd of its own CA is refused for a layout whose etcd has no TLS. */
export function layoutOf({ layout, etcd }: LaidOut): Layout {
  return etcd.ca === 'own' && layouts[layout].etcd ? withOwnEtcd : layouts[layout]
}
