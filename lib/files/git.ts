/** What git says of files. A repository may be a stranger's: nothing that its configuration names is run. */
import { spawnSync } from 'node:child_process'
import { dirname, join, relative } from 'node:path'
import { getSystemErrorMessage } from 'node:util'
import { Failure, isErrno } from '../failure.ts'
import { excerpt, pasteable, quote } from '../wording.ts'
import { workTreeOf } from './auth-dir.ts'

/** Milliseconds. */
const answerTime = 10_000

/** Runs there. The repository is named: a folder with the files of a bare one in it is not taken for one. */
function runGit(tree: string, env: NodeJS.ProcessEnv, args: readonly string[]) {
  // A hook that calls us has set GIT_DIR.
  const kept = Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('GIT_')))
  const own = [
    ...[`--git-dir=${join(tree, '.git')}`, `--work-tree=${tree}`],
    // Programs: one that watches files, and hooks.
    ...['core.fsmonitor=false', 'core.hooksPath=/dev/null'].flatMap((each) => ['-c', each]),
  ]
  // Those that fetch what a partial clone lacks: before 2.45 git does not know the first.
  const fetchesNothing = { GIT_NO_LAZY_FETCH: '1', GIT_ALLOW_PROTOCOL: 'none' }
  return spawnSync('git', [...own, ...args], {
    ...{ cwd: tree, env: { ...kept, LC_ALL: 'C', ...fetchesNothing }, encoding: 'utf8' },
    ...{ timeout: answerTime, maxBuffer: 16e6 },
  })
}

export interface Tracked {
  readonly tree: string
  /** By which git finds them. */
  readonly pathspec: string
  /** Their names in the path that was asked for; empty if git tracks that itself, as a link or submodule. */
  readonly files: readonly string[]
}

/**
 * What git tracks of the path, whose folder is a real one, in each work tree around it: one may stand in another. A disk
 * may ignore case. Throws a refusal where git does not answer.
 */
export function trackedAt(path: string, first: string, env: NodeJS.ProcessEnv): Tracked[] {
  const found: Tracked[] = []
  for (let tree: string | undefined = first; tree !== undefined; ) {
    const inTree = relative(tree, path) || '.'
    const pathspec = `:(icase,literal)${inTree}`
    const { status, stdout, stderr, error } = runGit(tree, env, ['ls-files', '-z', '--', pathspec])
    const start = inTree === '.' ? 0 : inTree.length + 1
    const entries = (stdout ?? '').split('\0').filter(Boolean)
    const files = entries.map((entry) => entry.slice(start))
    const isPlain = /^[\w./-]+$/.test(inTree) && (start === 0 || entries.every((each) => each.startsWith(inTree)))
    if (status === 0 && files.length > 0) found.push({ tree, pathspec: isPlain ? inTree : pathspec, files })
    // An empty .git, or a link to nowhere.
    if (error || (status !== 0 && !stderr.includes('not a git repository')))
      throw unanswered(path, tree, { stderr, error })
    tree = tree === dirname(tree) ? undefined : workTreeOf(dirname(tree))
  }
  return found
}

function unanswered(path: string, tree: string, said: { stderr: string | null; error: Error | undefined }): Failure {
  const why = isErrno(said.error)
    ? `can't start git: ${getSystemErrorMessage(-Math.abs(Number(said.error.errno)))}`
    : excerpt(said.stderr ?? '')
  return new Failure(`can't tell whether git tracks files in ${path} (${why || 'no answer'})`, {
    kind: 'refused',
    code: 'git-unusable',
    remedy: `- make this work: ${pasteable(`git -C ${quote(tree)} ls-files`)}\n- or move the cluster's directory out of ${tree}`,
  })
}
