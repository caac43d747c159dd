/** Who holds which private key, and what it lets a thief do: the reach of a stolen machine. */
import { html } from 'ghtml'
import type { Cluster } from '../../lib/cluster.ts'
import { formatNames } from '../../lib/reason.ts'
import { certTable } from '../cert-table.ts'
import { nodeFiles } from '../file-table.ts'

const own = 'its own node'
const encryption = 'encryption key'
/** The further to the left, the worse. */
const severity = [
  'ca',
  'kubernetes',
  'admin',
  'service-account',
  encryption,
  'kube-controller-manager',
  'kube-scheduler',
  own,
  'kube-proxy',
]

interface Holder {
  readonly name: string
  readonly keys: ReadonlySet<string>
}

/** The key's power, by the key's name; where the tables have a key that is not ranked, it comes last. */
function keyPowers(cluster: Cluster): Map<string, string> {
  const powers = new Map(certTable(cluster).map(({ name, node, power }) => [node ? own : name, power]))
  powers.set(encryption, 'reads the Secrets in a copy of etcd')
  const rank = (name: string) => (severity.indexOf(name) + severity.length + 1) % (severity.length + 1)
  return new Map([...powers].sort(([a], [b]) => rank(a) - rank(b)))
}

function keysIn(files: readonly string[], node: string): Set<string> {
  const names = files.flatMap((file) => {
    if (file === 'encryption-config.yaml') return [encryption]
    return /^(.*?)(-key\.pem|\.kubeconfig)$/.exec(file)?.[1] ?? []
  })
  return new Set(names.map((name) => (name === node ? own : name)))
}

function holders(cluster: Cluster): Holder[] {
  const all = new Set(keyPowers(cluster).keys())
  const local = cluster.localKubeconfig ? [{ name: 'your kubeconfig', keys: new Set(['admin']) }] : []
  const nodes = cluster.nodes.map((node) => ({ name: node.name, keys: keysIn(nodeFiles(node), node.name) }))
  const alike = Map.groupBy(nodes, ({ keys }) => [...keys].sort().join(' '))
  const folded = [...alike.values()].flatMap((group) =>
    group[0] ? [{ name: formatNames(group.map(({ name }) => name)), keys: group[0].keys }] : [],
  )
  return [{ name: 'auth/ on this machine', keys: all }, ...local, ...folded]
}

export function showKeys(cluster: Cluster): string {
  const powers = keyPowers(cluster)
  const rows = holders(cluster).map(({ name, keys }) => {
    const worst = [...powers].find(([key]) => keys.has(key))
    const cells = [...powers.keys()].map((key) =>
      keys.has(key)
        ? html`<td class="${gravity(key)}"><span aria-hidden="true">●</span><span class="spoken">holds</span></td>`
        : '<td></td>',
    )
    return html`<tr><th scope="row">${name}<small>${worst ? worst[1] : 'nothing'}</small></th>!${cells}</tr>
`
  })
  return html`<p>By the roles in cluster.yaml. Under each machine stands the worst that its thief could do; each key that it holds adds to that. Red: the whole cluster is lost.</p>
<div class="scroll" role="region" aria-label="Keys by machine" tabindex="0">
<table class="keys">
<thead><tr><th scope="col">Machine</th>!${[...powers.keys()].map((key) => html`<th scope="col"><span>${key}</span></th>`)}</tr></thead>
<tbody>
!${rows}</tbody>
</table>
</div>
<details><summary>What each key lets a thief do</summary>
<dl>!${[...powers].map(([key, power]) => html`<dt>${key}</dt><dd>${power}</dd>`)}</dl>
</details>`
}

/** Whether the whole cluster is lost with it. */
function gravity(key: string): string {
  return severity.indexOf(key) < severity.indexOf('kube-controller-manager') ? 'grave' : 'limited'
}
