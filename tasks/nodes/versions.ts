/** Which components read a CA again that their kubeconfig names by file: client-go of Kubernetes 1.36, transport/ca_rotation.go. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { once } from '../../lib/files/plain-file.ts'
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
  const nameOf = ({ program }: UnitSeen) => `${program?.id}:${program?.path}`
  const said = await ask(run, node, asked.map(nameOf))
  return units.map((unit) => {
    const { version, changed } = said.get(nameOf(unit)) ?? unasked
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

/** Each process is asked about once in a run. */
const answers = once<Map<string, VersionSaid>, Run['auth']>(() => new Map())

interface VersionSaid {
  readonly version: string
  /** In seconds since 1970 by the node's clock. */
  readonly changed: number
}

async function ask(
  run: Run,
  node: ClusterNode,
  programs: readonly string[],
): Promise<ReadonlyMap<string, VersionSaid>> {
  const known = answers(run.auth)
  const key = (program: string) => `${node.name} ${program}`
  const open = programs.filter((program) => !known.has(key(program)))
  if (open.length > 0) {
    const command = script(open)
    const { said } = await (await run.connect(node)).run({ sudo: installOf(run).sudo, command, limit })
    for (const program of open) {
      const [id = ''] = program.split(':')
      const line = said.split('\n').find((each) => each.startsWith(`${id} `)) ?? ''
      const [, changed = Number.POSITIVE_INFINITY, version = ''] = /^\d+ (\d+) (.*)$/.exec(line) ?? []
      known.set(key(program), { changed: Number(changed), version })
    }
  }
  return new Map(programs.map((program) => [program, known.get(key(program)) ?? unasked]))
}

const unasked: VersionSaid = { version: '', changed: Number.POSITIVE_INFINITY }

/** Not one that is mounted by itself, nor of a start to come. */
const isRead = ({ part, loads, isReplaced }: Place) => part === 'ca' && loads === 'restart' && isReplaced === undefined

const told = new Set<string>()

/** Once, whichever node it is about. */
function tell({ note }: Run, text: string): void {
  if (!told.has(text)) note(text)
  told.add(text)
}
