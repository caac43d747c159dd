/**
 * The file of --authorization-config: pkg/kubeapiserver/authorizer/reload.go. Of it the stand-in plays Node, RBAC and, ahead of
 * them, one Webhook that is never dialled: its first match condition lists users, and users with the only certificates that they may
 * show, its second is an error, and an error denies (apiserver, authorization/cel/matcher.go). It starts with no other configuration.
 */
import { readFileSync, statSync, watch } from 'node:fs'
import { dirname, isAbsolute } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { parse } from 'yaml'
import type { Flags } from './flags.ts'
import { credentialId, type User } from './identity.ts'
import { Reloads } from './reloads.ts'
import { log } from './watched.ts'

/** Milliseconds. The real one has no setting for it; a test that can't wait a minute shortens it by the unit's environment. */
const pollTime = Number(process.env.STAND_IN_AUTHORIZATION_POLL ?? 60_000)

interface Denials {
  readonly name: string
  readonly users: readonly string[]
  /** They may show none but the good certificates. */
  readonly pinned: readonly string[]
  readonly good: readonly string[]
  /** The second condition, and the key that nobody's extra has. */
  readonly expression: string
  readonly key: string
}

interface Configuration {
  /** All of it: by this it is compared. */
  readonly document?: unknown
  /** Without either where the file has no Webhook. */
  readonly denials?: Denials
  readonly kubeconfig?: string
}

export class Authorization {
  readonly #path: string | undefined
  readonly #reloads = new Reloads('authorization')
  readonly #errors = new Map<string, number>()
  /** What was read last, what it held, and what is in force: three, since a file may not be fit for use. */
  #read = ''
  #parsed: Configuration = {}
  #loaded = { text: '', configuration: this.#parsed }
  /** A file that was removed is watched again from the next poll on: apiserver, util/filesystem/watchuntil.go. */
  #isWatched = true

  /** Throws where kube-apiserver would not start with the flags or the file. */
  constructor(flags: Flags) {
    this.#path = flags.get('authorization-config')
    if (this.#path === undefined) return
    if ([...flags.keys()].some((name) => /^authorization-(mode|webhook-.*)$/.test(name)))
      throw new Error(
        '--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined',
      )
    this.#read = readFileSync(this.#path, 'utf8')
    this.#parsed = readConfiguration(this.#read)
    readKubeconfig(this.#parsed)
    this.#loaded = { text: this.#read, configuration: this.#parsed }
  }

  follow(): void {
    const path = this.#path
    if (path === undefined) return
    watch(dirname(path), () => this.#isWatched && this.#look(path))
    setInterval(() => {
      this.#isWatched = true
      this.#look(path)
    }, pollTime)
  }

  #look(path: string): void {
    try {
      const text = this.#readAgain(path)
      if (text === this.#read) return
      // A file is tried once: not again when what it names has come to be.
      this.#read = text
      const configuration = readConfiguration(text)
      if (isDeepStrictEqual(configuration, this.#parsed)) return
      this.#parsed = configuration
      readKubeconfig(configuration)
      this.#loaded = { text, configuration }
      this.#reloads.count('success')
      log(`Loaded ${path}`)
    } catch (error) {
      this.#reloads.count('failure')
      log(`Keeping what was loaded of ${path}: ${error}`)
    }
  }

  #readAgain(path: string): string {
    try {
      return readFileSync(path, 'utf8')
    } catch (error) {
      this.#isWatched = false
      throw error
    }
  }

  /** The error that denies; undefined where nothing does. */
  denial({ username, groups, extra }: User): string | undefined {
    const { denials } = this.#loaded.configuration
    if (!denials || groups.includes('system:masters')) return undefined
    const { users, pinned, good, name, expression, key } = denials
    const shows = extra?.[credentialId]?.filter((id) => id.startsWith('X509SHA256=')) ?? []
    const isPinned = pinned.includes(username) && shows.some((id) => !good.includes(id))
    if (!users.includes(username) && !isPinned) return undefined
    this.#errors.set(name, (this.#errors.get(name) ?? 0) + 1)
    return `cel evaluation error: expression '${expression}' resulted in error: no such key: ${key}`
  }

  metrics(): string {
    if (this.#path === undefined) return ''
    const name = 'apiserver_authorization_match_condition_evaluation_errors_total'
    const errors = [...this.#errors].map(([by, count]) => `${name}{name="${by}",type="Webhook"} ${count}\n`)
    return this.#reloads.metrics(this.#loaded.text) + errors.join('')
  }
}

function readConfiguration(text: string): Configuration {
  const document = parse(text) ?? {}
  const { apiVersion, kind, authorizers, ...unknown } = document
  const isKnown = /^apiserver\.config\.k8s\.io\/v1(beta1)?$/.test(apiVersion) && kind === 'AuthorizationConfiguration'
  if (text !== '' && !isKnown) throw refused(`no kind "${kind}" is registered for version "${apiVersion}"`)
  if (Object.keys(unknown).length > 0)
    throw refused(`strict decoding error: unknown field "${Object.keys(unknown)[0]}"`)
  if (!Array.isArray(authorizers) || authorizers.length === 0)
    throw new Error('authorizers: Required value: at least one authorization mode must be defined')
  const order = authorizers.map(({ type, name }) => `${type} ${name}`).join()
  if (!/^(Webhook [a-z0-9.-]+,)?Node node,RBAC rbac$/.test(order))
    throw new Error(`authorizers: this stand-in plays a Webhook, Node and RBAC, in this order, and not ${order}`)
  const [{ name, webhook }] = authorizers
  return { document, ...(webhook && readWebhook(name, webhook)) }
}

const webhookFields: Readonly<Record<string, RegExp>> = {
  timeout: /^([1-9]|[12]\d|30)s$/,
  subjectAccessReviewVersion: /^v1(beta1)?$/,
  matchConditionSubjectAccessReviewVersion: /^v1$/,
  // NoOpinion would skip what is to deny.
  failurePolicy: /^Deny$/,
}
const optionalFields = ['authorizedTTL', 'unauthorizedTTL', 'cacheAuthorizedRequests', 'cacheUnauthorizedRequests']

function readWebhook(name: string, { connectionInfo, matchConditions, ...fields }: Record<string, unknown>) {
  for (const [field, pattern] of Object.entries(webhookFields))
    if (!pattern.test(String(fields[field]))) throw new Error(`${field}: Invalid value: ${fields[field]}`)
  const unknown = Object.keys(fields).find((field) => !(field in webhookFields) && !optionalFields.includes(field))
  if (unknown !== undefined) throw refused(`strict decoding error: unknown field "webhook.${unknown}"`)
  const { type, kubeConfigFile: file } = connectionInfo as Record<string, unknown>
  if (type !== 'KubeConfigFile' || typeof file !== 'string' || !isAbsolute(file))
    throw new Error(`kubeConfigFile: Invalid value: "${file}": must be an absolute path`)
  const stat = statSync(file, { throwIfNoEntry: false })
  if (!stat) throw new Error(`kubeConfigFile: Invalid value: "${file}": error loading file: no such file or directory`)
  if (!stat.isFile()) throw new Error(`kubeConfigFile: Invalid value: "${file}": must be a regular file`)
  const [first, second, ...more] = (matchConditions as { expression: string }[]).map(({ expression }) => expression)
  if (first === undefined || second === undefined || more.length > 0) throw notCompiled(more[0] ?? first ?? '')
  const [, key] = /^request\.extra\['([^'\\]+)'\]\[0\] == '[^'\\]*'$/.exec(second) ?? []
  if (key === undefined) throw notCompiled(second)
  return { kubeconfig: file, denials: { name, ...readListed(first), expression: second, key } }
}

interface Named {
  readonly name: string
  readonly context?: { readonly cluster: string }
  readonly cluster?: { readonly server?: string }
}

function readKubeconfig({ kubeconfig }: Configuration): void {
  if (kubeconfig === undefined) return
  const { clusters = [], contexts = [], 'current-context': current } = parse(readFileSync(kubeconfig, 'utf8')) ?? {}
  const named = (all: readonly Named[], name: string | undefined) => all.find((each) => each.name === name)
  if (named(clusters, named(contexts, current)?.context?.cluster)?.cluster?.server === undefined)
    throw new Error('invalid authorization config: invalid configuration: no configuration has been provided')
}

const list = (name: string) => String.raw`\[(?<${name}>(?:'[^'\\]*'(?:, '[^'\\]*')*)?)\]`
const extra = String.raw`request\.extra`
const shown = `has\\(${extra}\\) && '${credentialId}' in ${extra} && ${extra}\\['${credentialId}'\\]`
const condition = new RegExp(
  String.raw`^request\.user in ${list('users')}(?: \|\| request\.user in ${list('pinned')} && ${shown}\.exists\(id, id\.startsWith\('X509SHA256='\) && !\(id in ${list('good')}\)\))?$`,
)

/** Of the first condition. */
function readListed(expression: string): Pick<Denials, 'users' | 'pinned' | 'good'> {
  const groups = condition.exec(expression)?.groups
  if (groups === undefined) throw notCompiled(expression)
  const all = (text = '') => Array.from(text.matchAll(/'([^']*)'/g), ([, value = '']) => value)
  return { users: all(groups.users), pinned: all(groups.pinned), good: all(groups.good) }
}

const refused = (why: string) => new Error(`failed to load AuthorizationConfiguration from file: ${why}`)
const notCompiled = (expression: string) =>
  new Error(`matchConditions: Invalid value: "${expression}": compilation failed: this stand-in does not play it`)
