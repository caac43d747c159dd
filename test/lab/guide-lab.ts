/** The guide's cluster and a gateway as throw-away nodes, in a folder with the cluster.yaml that reaches them. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { Document, parseDocument } from 'yaml'
import type { LayoutName } from '../../lib/cluster/cluster.ts'
import { type Lab, startLab } from './lab.ts'

/** What cluster.yaml says in each guide's demo, nodes included. */
function clusterOf(layout: LayoutName): Document {
  if (layout === 'hard-way')
    return new Document({
      ...{ name: 'kubernetes-the-hard-way', layout, certificates: { key: 'rsa-2048' } },
      nodes: ['server', 'node-0', 'node-1'].map((name, i) => ({
        ...{ name, role: i === 0 ? 'control' : 'worker', ip: `192.168.1.${11 + i}` },
      })),
    })
  const cluster = parseDocument(readFileSync(new URL('../../cluster.yaml', import.meta.url), 'utf8'))
  cluster.addIn(['nodes'], { name: 'gateway', role: 'gateway', ip: '192.168.1.10' })
  return cluster
}

/** The nodes' own files are in dir/lab, which stop() leaves there. */
export async function startGuideLab(dir: string, layout: LayoutName): Promise<Lab> {
  const cluster = clusterOf(layout)
  cluster.setIn(['ssh', 'configFile'], './lab/ssh_config')
  cluster.setIn(['ssh', 'user'], userInfo().username)
  cluster.setIn(['localKubeconfig', 'path'], './kubeconfig')
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  writeFileSync(join(dir, 'cluster.yaml'), cluster.toString())
  const names = (cluster.toJS().nodes as { name: string }[]).map(({ name }) => name)
  return startLab({ dir: join(dir, 'lab'), nodes: names.map((name) => ({ name })) })
}
