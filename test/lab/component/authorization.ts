/**
 * The file of --authorization-config: pkg/kubeapiserver/authorizer/reload.go. Of it the stand-in plays Node, RBAC and,
 * ahead of them, Webhooks that are never dialled: the first match condition lists users, and the second is an error,
 * which denies (apiserver, authorization/cel/matcher.go). It starts with no other configuration.
 */
import { readFileSync, statSync, watch } from 'node:fs'
import { dirname, isAbsolute } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { parse } from 'yaml'
import type { Flags } from './flags.ts'
import type { User } from './identity.ts'
import { log } from './watched.ts'

/**
 * Milliseconds. The real one has no setting for it; a test that can't wait a minute shortens it by the unit's
 * environment.
 */
const pollTime = Number(process.env.STAND_IN_AUTHORIZATION_POLL ?? 60_000)

interface Webhook {
  readonly name: string
  readonly kubeconfig: string
  readonly users: readonly string[]
  /** What the error says. */
  readonly error: string
}

interface Configuration {
  /** All of it: by this it is compared. */
  readonly document?: unknown
  readonly webhooks: readonly Webhook[]
}

export class Authorization {
  readonly #path: string | undefined
  /** What was read last, what it held, and what is in force: three, since a file may not be fit for use. */
  #read = ''
  #parsed: Configuration = { webhooks: [] }
  #loaded = this.#parsed

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
    this.#loaded = this.#parsed
  }

  follow(): void {
    const path = this.#path
    if (path === undefined) return
    watch(dirname(path), () => this.#look(path))
    setInterval(() => this.#look(path), pollTime)
  }

  #look(path: string): void {
    try {
      const text = readFileSync(path, 'utf8')
      if (text === this.#read) return
      // A file is tried once: not again when what it names has come to be.
      this.#read = text
      const configuration = readConfiguration(text)
      if (isDeepStrictEqual(configuration, this.#parsed)) return
      this.#parsed = configuration
      readKubeconfig(configuration)
      this.#loaded = configuration
      log(`Loaded ${path}`)
    } catch (error) {
      log(`Keeping what was loaded of ${path}: ${error}`)
    }
  }

  /** The error that denies; undefined where nothing does. */
  denial({ username, groups }: User): string | undefined {
    if (groups.includes('system:masters')) return undefined
    const denying = this.#loaded.webhooks.find(({ users }) => users.includes(username))
    return denying && `cel evaluation error: ${denying.error}`
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
  if (!/^(Webhook [a-z0-9.-]+,)*Node node,RBAC rbac$/.test(order))
    throw new Error(`authorizers: this stand-in plays Webhooks, Node and RBAC, in this order, and not ${order}`)
  const names = authorizers.map(({ name }) => name)
  if (new Set(names).size < names.length) throw new Error(`authorizers: Duplicate value: one of ${names}`)
  return { document, webhooks: authorizers.slice(0, -2).map(({ name, webhook }) => readWebhook(name, webhook)) }
}

const webhookFields: Readonly<Record<string, RegExp>> = {
  timeout: /^([1-9]|[12]\d|30)s$/,
  subjectAccessReviewVersion: /^v1(beta1)?$/,
  matchConditionSubjectAccessReviewVersion: /^v1$/,
  failurePolicy: /^Deny$/,
}
const optionalFields = ['authorizedTTL', 'unauthorizedTTL', 'cacheAuthorizedRequests', 'cacheUnauthorizedRequests']

function readWebhook(name: string, { connectionInfo, matchConditions, ...fields }: Record<string, unknown>): Webhook {
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
  const [, users] = condition.exec(first) ?? []
  if (users === undefined) throw notCompiled(first)
  const [, key] = /^request\.extra\['([^'\\]+)'\]\[0\] == '[^'\\]*'$/.exec(second) ?? []
  if (key === undefined) throw notCompiled(second)
  return {
    ...{ name, kubeconfig: file, users: valuesOf(users) },
    error: `expression '${second}' resulted in error: no such key: ${key}`,
  }
}

interface Named {
  readonly name: string
  readonly context?: { readonly cluster: string }
  readonly cluster?: { readonly server?: string }
}

function readKubeconfig({ webhooks }: Configuration): void {
  for (const { kubeconfig } of webhooks) requireServer(kubeconfig)
}

function requireServer(kubeconfig: string): void {
  const { clusters = [], contexts = [], 'current-context': current } = parse(readFileSync(kubeconfig, 'utf8')) ?? {}
  const named = (all: readonly Named[], name: string | undefined) => all.find((each) => each.name === name)
  if (named(clusters, named(contexts, current)?.context?.cluster)?.cluster?.server === undefined)
    throw new Error('invalid authorization config: invalid configuration: no configuration has been provided')
}

const string = String.raw`'(?:[^'\\]|\\U[0-9a-f]{8})*'`
const condition = new RegExp(String.raw`^request\.user in \[((?:${string}(?:, ${string})*)?)\]$`)

const valuesOf = (text = '') =>
  Array.from(text.matchAll(/'([^']*)'/g), ([, value = '']) =>
    value.replaceAll(/\\U(.{8})/g, (_, digits) => String.fromCodePoint(Number.parseInt(digits, 16))),
  )

const refused = (why: string) => new Error(`failed to load AuthorizationConfiguration from file: ${why}`)
const notCompiled = (expression: string) =>
  new Error(`matchConditions: Invalid value: "${expression}": compilation failed: this stand-in does not play it`)
