/** What git says of files. A repository may be a stranger's: nothing that its configuration names is run. */
import { spawnSync } from 'node:child_process'
import { dirname, join, relative } from 'node:path'
import { getSystemErrorMessage } from 'node:util'
import { Failure, isErrno } from '../failure.ts'
import { excerpt, quote } from '../wording.ts'
import { workTreeOf } from './auth-dir.ts'

/** Milliseconds. */
const answerTime = 10_000

/** Runs there. The repository is named: a folder with the files of a bare one in it is not taken for one. */
export function runGit(tree: string, env: NodeJS.ProcessEnv, args: readonly string[]) {
  // A hook that calls us has set GIT_DIR.
  const kept = Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('GIT_')))
  const own = [
    ...[`--git-dir=${join(tree, '.git')}`, `--work-tree=${tree}`],
    // Programs: one that watches files, hooks, and those that fetch what a partial clone lacks.
    ...['core.fsmonitor=false', 'core.hooksPath=/dev/null', 'protocol.allow=never'].flatMap((each) => ['-c', each]),
  ]
  return spawnSync('git', [...own, ...args], {
    ...{ cwd: tree, env: { ...kept, LC_ALL: 'C', GIT_NO_LAZY_FETCH: '1' }, encoding: 'utf8' },
    ...{ timeout: answerTime, maxBuffer: 16e6 },
  })
}

/**
 * What git tracks in the folder, by paths in the work tree, `first` or one above it. Throws a refusal where git does not
 * answer.
 */
export function trackedIn(folder: string, first: string, env: NodeJS.ProcessEnv) {
  let tree: string | undefined = first
  while (tree !== undefined) {
    const inTree = relative(tree, folder) || '.'
    const { status, stdout, stderr, error } = runGit(tree, env, ['--literal-pathspecs', 'ls-files', '-z', '--', inTree])
    if (status === 0) return { tree, inTree, paths: stdout.split('\0').filter(Boolean) }
    // An empty .git, or a link to nowhere.
    if (error || !stderr.includes('not a git repository')) throw unanswered(folder, tree, { stderr, error })
    tree = tree === dirname(tree) ? undefined : workTreeOf(dirname(tree))
  }
  return undefined
}

function unanswered(folder: string, tree: string, said: { stderr: string | null; error: Error | undefined }): Failure {
  const why = isErrno(said.error)
    ? `can't start git: ${getSystemErrorMessage(-Math.abs(Number(said.error.errno)))}`
    : excerpt(said.stderr ?? '')
  return new Failure(`can't tell whether git tracks files in ${folder} (${why || 'no answer'})`, {
    kind: 'refused',
    code: 'git-unusable',
    remedy: `- make this work: git -C ${quote(tree)} ls-files\n- or move the cluster's directory out of ${tree}`,
  })
}
