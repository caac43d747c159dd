/** Rules about the nodes of cluster.yaml: names that collide, addresses, roles. Pure. */
import { addressBytes, canonicalAddress } from '../address.ts'
import { isNameOfKey } from '../files/names.ts'
import { duplicates, list, type Problem, type Raw } from './problem.ts'

export function nodeProblems(nodes: readonly Raw[], reservedNames: ReadonlySet<string>): Problem[] {
  const names = nodes.flatMap(({ name }, i) =>
    typeof name === 'string' ? [{ value: name, path: ['nodes', i, 'name'] }] : [],
  )
  const addresses = nodes.flatMap(({ ip, ips }, i) => [
    ...list(ips).map((value, j) => ({ value, path: ['nodes', i, 'ips', j] })),
    { value: ip, path: ['nodes', i, 'ip'] },
  ])
  const known = addresses.flatMap(({ value, path }) =>
    typeof value === 'string' && addressBytes(value) ? [{ value: canonicalAddress(value), path }] : [],
  )
  return [
    ...names
      .filter(({ value }) => reservedNames.has(value) || isNameOfKey(value))
      .map(({ value, path }) => ({
        path,
        message: `"${value}" can't be a node's name: its files would collide with the cluster's own`,
      })),
    ...duplicates(names, 'is the name of another node too'),
    ...duplicates(known, 'is given as an address already'),
    ...nodes.flatMap(({ ip, ips }, i): Problem[] => {
      if (ip === undefined && ips === undefined)
        return [{ path: ['nodes', i], message: 'has no address: give ip, or ips for dual-stack' }]
      if (ip !== undefined && ips !== undefined)
        return [{ path: ['nodes', i, 'ips'], message: "can't be combined with ip: give one of the two" }]
      return []
    }),
    ...(nodes.length > 0 && !nodes.some(({ role }) => role === 'control')
      ? [{ path: ['nodes'], at: 'key' as const, message: 'has no node with role: control' }]
      : []),
  ]
}
