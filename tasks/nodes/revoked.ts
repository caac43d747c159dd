/** Whether `revoked` is in force: what the API server of a node answers, and what its owner has to change there. */
import pLimit from 'p-limit'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, tryToAwait } from '../../lib/failure.ts'
import { authorizationConfigFile, authorizationFiles } from '../../lib/files/auth-dir.ts'
import type { Run } from '../../lib/graph/target.ts'
import {
  formatAuthorizer,
  listIn,
  type RevokedList,
  reviewOfAll,
  reviewsOf,
  wantedList,
} from '../../lib/kubernetes/authorization.ts'
import { fileAt, type PlacesState } from '../../lib/node/state.ts'
import { formatNames } from '../../lib/wording.ts'
import { apiServer } from '../layouts/layout.ts'
import { authorizationWebhookPath } from '../layouts/tables.ts'
import { withApi } from './component.ts'
import { formatDropIn } from './flags.ts'
import { startingOf, type UnitSeen } from './reads.ts'

/** GA of --authorization-config: https://kubernetes.io/docs/reference/command-line-tools-reference/feature-gates/ */
const oldest = 32

/** How many reviews are asked at a time: each has the whole patience of a request, however many entries there are. */
const atATime = 4

export interface ListInForce {
  /** It denies whom the list of auth/ has. */
  readonly isLoaded: boolean
  /** The entries of `revoked` that it does not deny. */
  readonly notDenied: readonly string[]
}

/**
 * What an API server says of the list; undefined if it did not answer, or cluster.yaml has none. It is asked for each entry only where
 * that is told, or decides: there may be a thousand.
 */
export async function readInForce(
  run: Run,
  node: ClusterNode,
  units: readonly UnitSeen[],
): Promise<ListInForce | undefined> {
  const { auth, cluster } = run
  if (!cluster.revoked) return undefined
  return tryToAwait(() =>
    withApi({ run }, node, async (api) => {
      const isDenied = async (spec: object) => {
        const review = { apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview', spec }
        const answer = await api.read('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', review)
        return 'status' in answer && (answer.status as { readonly denied?: unknown } | null)?.denied === true
      }
      const listed: RevokedList = listIn(auth) ?? new Map()
      const isLoaded = await isDenied(reviewOfAll(listed))
      const entries = [...wantedList({ auth, cluster })].filter(([entry]) => !isLoaded || !listed.has(entry))
      const isAsked = isLoaded || run.isObserved || units.some(({ owned }) => owned.length > 0)
      if (!isAsked) return { isLoaded, notDenied: entries.map(([entry]) => entry) }
      const limit = pLimit(atATime)
      const denied = await Promise.all(
        entries.map(async (entry) => (await limit.map(reviewsOf(entry), isDenied)).every(Boolean)),
      )
      return { isLoaded, notDenied: entries.flatMap(([entry], i) => (denied[i] ? [] : [entry])) }
    }),
  )
}

/** Throws a Failure for an API server that can't be started with the list. */
export async function refuseOldApi(run: Run, node: ClusterNode, units: readonly UnitSeen[]): Promise<void> {
  if (!units.some(({ flags }) => flags.unset.some(({ file }) => file === authorizationConfigFile))) return
  const answer = await tryToAwait(() => withApi({ run }, node, (api) => api.read('GET', '/version')))
  const minor = answer && minorOf(answer)
  if (minor === undefined || minor >= oldest) return
  throw new Failure(`${apiServer} is of Kubernetes 1.${minor}, and revoked needs 1.${oldest}`, {
    node: node.name,
    code: 'too-old',
    remedy:
      'upgrade it, or take revoked out of cluster.yaml; until then: docs/rotation.md, "A key that may have leaked"',
  })
}

/** Of Kubernetes 1.X, by the answer to /version; a provider may add a plus. */
export function minorOf(answer: object): number | undefined {
  const { major, minor }: { readonly major?: unknown; readonly minor?: unknown } = answer
  const number = Number.parseInt(String(minor), 10)
  return major === '1' && !Number.isNaN(number) ? number : undefined
}

interface InForce {
  /** "2 of 2 revoked in force" */
  readonly inWords?: string

  /** How many entries the API server denies; undefined where none is installed. */
  readonly revokedInForce: number | undefined
  /** In a clause, if that is not all of them, and a run can't change it. */
  readonly notInForce: readonly string[]
  /** What its owner has to change, in a sentence each. */
  readonly toChange: readonly string[]
}

interface ListSeen {
  readonly units: readonly UnitSeen[]
  readonly places: PlacesState
  /** In the node's folder. */
  readonly files: ReadonlyMap<string, unknown>
  readonly inForce?: ListInForce | undefined
}

/** `installed`: names of units. */
export function checkInForce(run: Run, found: ListSeen, installed: readonly string[]): InForce {
  const unit = found.units.find((each) => each.unit === apiServer && installed.includes(apiServer))
  const { revoked } = run.cluster
  if (!unit) return { revokedInForce: undefined, notInForce: [], toChange: [] }
  if (!revoked) return { revokedInForce: undefined, notInForce: [], toChange: stillListed(run, unit, found) }
  const notDenied = found.inForce?.notDenied ?? revoked
  const isOfList = ({ file }: { readonly file: string }) => file === authorizationConfigFile
  const isLoading =
    unit.files.some((place) => isOfList(place) && place.loads === 'reload') || unit.flags.notStartedWith.some(isOfList)
  const owned = notDenied.length > 0 ? unit.owned : []
  return {
    revokedInForce: revoked.length - notDenied.length,
    ...(revoked.length > 0 && {
      inWords: `${revoked.length - notDenied.length} of ${revoked.length} revoked in force`,
    }),
    notInForce:
      notDenied.length === 0 || isLoading
        ? []
        : [
            `${apiServer}: ${formatNames(notDenied)} of revoked ${found.inForce ? 'not in force' : 'may not be in force: it did not answer'}`,
          ],
    toChange: owned.map((why) => formatOwned(run, why)),
  }
}

/** Both are there, so that the API server may be started with them. */
export function isListPlaced(found: Pick<ListSeen, 'units' | 'places'>): boolean {
  const places = found.units.flatMap(({ files }) => files.filter(({ file }) => authorizationFiles.includes(file)))
  return places.every(({ path }) => fileAt(found.places, path))
}

function formatOwned(run: Run, why: string): string {
  // As the list is in auth/: keys are added to it once their new pairs are in use.
  const authorizer = formatAuthorizer(listIn(run.auth) ?? new Map(), authorizationWebhookPath(run.cluster))
  return `${apiServer}: ${why}, and is left alone: for revoked, put this authorizer before all others in the file of --authorization-config\n${authorizer}`
}

/** cluster.yaml has no `revoked` any more, and the API server still has its list: taking that away lets in whom it has. */
function stillListed({ auth, cluster }: Run, unit: UnitSeen, { places, files }: ListSeen): string[] {
  const flag = '--authorization-config'
  const path = unit.unlistedFlags.find(({ by }) => by === flag)?.path
  const isOurs = auth.read(authorizationConfigFile) !== undefined || files.has(authorizationConfigFile)
  if (path === undefined || !path.endsWith(`/${authorizationConfigFile}`) || !isOurs) return []
  const listed = [...(listIn(auth)?.keys() ?? [])]
  const mode = { flag: '--authorization-mode', value: 'Node,RBAC', replaces: [flag] }
  const typed = formatDropIn(startingOf(cluster, unit, places), [mode])
  const way = typed === undefined ? `set ${mode.flag}=${mode.value} in place of ${flag}` : 'type this there'
  return [
    `${apiServer} still denies whom ${path} lists${listed.length > 0 ? ` (${formatNames(listed)})` : ''}, and cluster.yaml has no revoked: put it back (revoked: [${listed.join(', ')}]); or let them in again: ${way}, and restart it, one node after the other${typed === undefined ? '' : `\n    ${typed}`}`,
  ]
}
