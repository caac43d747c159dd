/** The guides whose clusters harderway knows, one row each. */
import type { Cluster, LayoutName } from '../../lib/cluster/cluster.ts'
import { hardWay } from './hard-way.ts'
import { harderWay } from './harder-way.ts'
import type { Layout } from './layout.ts'

export const layouts: Readonly<Record<LayoutName, Layout>> = { 'harder-way': harderWay, 'hard-way': hardWay }

export function layoutOf({ layout }: Pick<Cluster, 'layout'>): Layout {
  return layouts[layout]
}
