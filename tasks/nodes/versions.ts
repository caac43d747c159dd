/** Which components read a CA again that their kubeconfig names by file: client-go of Kubernetes 1.36, transport/ca_rotation.go. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import type { Run } from '../../lib/graph/run.ts'
import { isRunning, type PlacesState } from '../../lib/node/state.ts'
import type { Place } from '../layouts/layout.ts'
import { installOf } from './look.ts'
import type { UnitSeen } from './reads.ts'

/** The minor versions that this was tried with. */
const tried = { from: 36, to: 36 }
const gate = 'ClientsAllowCARotation'
/** Milliseconds. */
const limit = 30_000

/**
 * For each ID:PROGRAM its version, and when it was changed. Only a program is run that root alone may change, or lead elsewhere by a
 * folder above; the gate in an environment is named.
 */
const script = (programs: readonly string[]) => `for p in ${programs.join(' ')}; do
  id=\${p%%:*} f=$(readlink -f -- "\${p#*:}") open='' at=$f
  while [ -n "$at" ]; do
    # The sticky bit keeps names to their owners.
    case $(stat -c '%u %a' -- "$at") in '0 '[1357]???) ;; '0 '*[2367]? | '0 '*[2367]) open=1 ;; '0 '*) ;; *) open=1 ;; esac
    at=\${at%/*}
  done
  if [ -n "$open" ] || [ -z "$f" ]; then continue; fi
  if grep -qsz '^KUBE_FEATURE_${gate}=' /proc/$id/environ; then echo "$id 0 gate"; continue; fi
  echo "$id $(stat -c %Z -- "$f") $("$f" --version </dev/null 2>/dev/null | head -n 1)"
done`

/** The units, of which those that read it again do so by their poll. Any other, and one of which nothing is known, needs a restart. */
export async function withVersions(
  run: Run,
  node: ClusterNode,
  { units, places }: { readonly units: readonly UnitSeen[]; readonly places: PlacesState },
  isAsked: (unit: UnitSeen) => boolean,
): Promise<UnitSeen[]> {
  const asked = units.filter((unit) => unit.program !== undefined && isRunning(places, unit.unit) && isAsked(unit))
  const programs = asked.map(({ program }) => `${program?.id}:${program?.path}`)
  const said = programs.length > 0 ? await ask(run, node, programs) : new Map()
  return units.map((unit) => {
    const { version = '', changed = Number.POSITIVE_INFINITY } = said.get(unit.program?.id) ?? {}
    const { process } = places.units.get(unit.unit) ?? {}
    const isOfIt = typeof process === 'object' && process.started > changed
    const [, minor] = /^Kubernetes v1\.(\d{1,3})\./.exec(version) ?? []
    const polls = isOfIt && !unit.keepsCa && Number(minor) >= tried.from && Number(minor) <= tried.to
    if (asked.includes(unit) && !unit.keepsCa && version !== 'gate' && !(Number(minor) <= tried.to))
      tell(
        run,
        `${unit.unit}: ${version ? `${version} was not tried` : 'its version could not be read'}: a new CA restarts it`,
      )
    return polls
      ? { ...unit, files: unit.files.map((place) => (isRead(place) ? { ...place, loads: 'poll' } : place)) }
      : unit
  })
}

async function ask(run: Run, node: ClusterNode, programs: readonly string[]) {
  const { said } = await (await run.connect(node)).run({ sudo: installOf(run).sudo, command: script(programs), limit })
  const rows = said.split('\n').flatMap((line) => {
    const [, id, changed, version = ''] = /^(\d+) (\d+) (.*)$/.exec(line) ?? []
    return id === undefined ? [] : [[Number(id), { changed: Number(changed), version }] as const]
  })
  return new Map(rows)
}

/** Not one that is mounted by itself, nor of a start to come. */
const isRead = ({ part, loads, isReplaced }: Place) => part === 'ca' && loads === 'restart' && isReplaced === undefined

const told = new Set<string>()

/** Once, whichever node it is about. */
function tell({ note }: Run, text: string): void {
  if (!told.has(text)) note(text)
  told.add(text)
}
