/** Rules about the users of cluster.yaml: names that collide, groups, validity. Pure. */
import { isNameOfKey } from '../files/names.ts'
import { tooShort } from './durations.ts'
import { duplicates, list, map, type Path, type Problem, type Raw } from './problem.ts'
import { defaults } from './schema.ts'
import { shown, textOf } from './shown.ts'

export function userProblems(raw: Raw, reservedNames: ReadonlySet<string>): Problem[] {
  const users = list(raw.users).map(map)
  const names = users.flatMap(({ name }, i) =>
    typeof name === 'string' ? [{ value: name, path: ['users', i, 'name'] }] : [],
  )
  const nodes = new Set(list(raw.nodes).map((node) => map(node).name))
  const { renewBefore } = { ...defaults, ...map(raw.certificates) }
  return [
    ...names.flatMap(({ value, path }): Problem[] => {
      if (nodes.has(value))
        return [{ path, message: `${shown(value)} is the name of a node, whose files are called so` }]
      return reservedNames.has(value) || isNameOfKey(value)
        ? [{ path, message: `${shown(value)} can't be a user's name: its files would collide with the cluster's own` }]
        : []
    }),
    ...duplicates(names, 'is the name of another user too'),
    ...users.flatMap(({ groups, validity }, i): Problem[] => [
      ...groupProblems(list(groups), ['users', i, 'groups']),
      ...tooShort(validity, renewBefore, ['users', i, 'validity']),
    ]),
  ]
}

/** https://kubernetes.io/docs/concepts/security/rbac-good-practices/#least-privilege */
function groupProblems(groups: readonly unknown[], path: Path): Problem[] {
  const placed = groups.map((group, i) => ({ value: textOf(group), path: [...path, i] }))
  return [
    ...placed
      .filter(({ value }) => value === 'system:masters')
      .map(({ value, path }) => ({
        path,
        message: `"${value}" is past every rule of RBAC, and nothing can revoke it before it expires: bind a group of your own to the ClusterRole cluster-admin`,
      })),
    ...duplicates(placed, 'is given as a group already'),
  ]
}
