/** What is wrong with a draft, in the words of the command line that asked for it. Pure. */
import { findProblems, formatPath } from '../../../lib/cluster/cluster.ts'
import type { Problem } from '../../../lib/cluster/problem.ts'
import { known } from '../../tables/files.ts'
import { type Asked, formatWord, wrong } from './asked.ts'
import { type Draft, plainCluster } from './draft.ts'

/** Throws a usage Failure with all that is wrong, apart from what is not known yet. */
export function checkDraft(draft: Draft, asked: Asked): void {
  const problems = findProblems(plainCluster(draft), known).filter((problem) => !isBlank(problem, draft))
  if (problems.length === 0) return
  const lines = problems.map(
    (problem) => `${sourceOf(problem, draft, asked)}: ${problem.message}${hintOf(problem, draft)}`,
  )
  throw wrong([...new Set(lines)].join('\n'))
}

/** Of a name that is none in Kubernetes, and may be one for ssh: a full name, an address, an alias with a dot. */
function hintOf({ path: [section, key, part] }: Problem, { nodes }: Draft): string {
  const { name = '', host } = (section === 'nodes' && nodes[Number(key)]) || {}
  const isHost = part === 'name' && host === undefined && /[.:_]/.test(name) && /^[\w.:-]+$/.test(name)
  return isHost ? `; if ssh knows it by that, write NAME=${name}` : ''
}

function isBlank({ path: [section, key, ...more] }: Problem, { api, nodes }: Draft): boolean {
  if (more.length > 0) return false
  if (section === 'api' && key === 'virtualIP') return api.virtualIP === undefined
  return section === 'nodes' && typeof key === 'number' && nodes[key]?.ips.length === 0
}

function sourceOf({ path }: Problem, draft: Draft, asked: Asked): string {
  const [section, key, part] = path
  const node = section === 'nodes' && typeof key === 'number' ? draft.nodes[key] : undefined
  const typed = node && asked.nodes.find(({ name, role }) => name === node.name && role === node.role)
  if (typed) return `--${typed.role} ${formatWord(typed)}`
  switch ([section, part === undefined ? key : ''].filter((word) => word !== undefined).join('.')) {
    case 'nodes':
      return '--control'
    case 'name':
      return `--name ${draft.name}`
    case 'api.virtualIP':
      return `--virtual-ip ${draft.api.virtualIP}`
    case 'ssh.user':
      return `--user ${draft.ssh.user}`
    case 'ssh.configFile':
      return `--ssh-config ${draft.ssh.configFile}`
    default:
      return `${asked.auth}: ${formatPath(path)}`
  }
}
