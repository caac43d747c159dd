/**
 * The file of --authorization-config: pkg/kubeapiserver/authorizer/reload.go. Of it the stand-in plays Node, RBAC and,
 * ahead of them, a Webhook that is never dialled: the first match condition lists users, and the second is an error,
 * which denies (apiserver, authorization/cel/matcher.go). It starts with no other configuration.
 */
import { readFileSync } from 'node:fs'
import { isAbsolute } from 'node:path'
import { parse } from 'yaml'
import type { Flags } from './flags.ts'
import type { User } from './identity.ts'
import { watchFiles } from './watched.ts'

/** Milliseconds. The real one has no setting for it; units of tests shorten it by their environment. */
const pollTime = Number(process.env.STAND_IN_AUTHORIZATION_POLL ?? 60_000)

export class Authorization {
  readonly #path: string | undefined
  #denied: readonly string[] = []

  /** Throws where kube-apiserver would not start with the flags or the file. */
  constructor(flags: Flags) {
    this.#path = flags.get('authorization-config')
    if (this.#path === undefined) return
    if ([...flags.keys()].some((name) => /^authorization-(mode|webhook-.*)$/.test(name)))
      throw new Error(
        '--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined',
      )
    this.#denied = readDenied(readFileSync(this.#path, 'utf8'))
  }

  follow(): void {
    if (this.#path === undefined) return
    const load = ([text]: readonly Buffer[]) => {
      this.#denied = readDenied(String(text))
    }
    watchFiles([this.#path], load, pollTime)
  }

  /** The error that denies; undefined where nothing does. */
  denial({ username, groups }: User): string | undefined {
    const isDenied = !groups.includes('system:masters') && this.#denied.includes(username)
    return isDenied ? 'cel evaluation error: no such key' : undefined
  }
}

/** Who is denied. Throws where the file is not one that is played. */
function readDenied(text: string): string[] {
  const { apiVersion, kind, authorizers, ...unknown } = parse(text) ?? {}
  if (apiVersion !== 'apiserver.config.k8s.io/v1' || kind !== 'AuthorizationConfiguration')
    throw new Error(`no kind "${kind}" is registered for version "${apiVersion}"`)
  requireNone(unknown)
  const order = (authorizers as { type: string; name: string }[]).map(({ type, name }) => `${type} ${name}`).join()
  if (!/^Webhook [a-z0-9.-]+,Node node,RBAC rbac$/.test(order))
    throw new Error(`authorizers: this stand-in plays a Webhook, Node and RBAC, in this order, and not ${order}`)
  return readWebhook(authorizers[0].webhook)
}

function requireNone(unknown: object): void {
  const [field] = Object.keys(unknown)
  if (field !== undefined) throw new Error(`strict decoding error: unknown field "${field}"`)
}

const webhookFields: Readonly<Record<string, RegExp>> = {
  timeout: /^([1-9]|[12]\d|30)s$/,
  subjectAccessReviewVersion: /^v1(beta1)?$/,
  matchConditionSubjectAccessReviewVersion: /^v1$/,
  failurePolicy: /^Deny$/,
}

function readWebhook({ connectionInfo, matchConditions, ...fields }: Record<string, unknown>): string[] {
  const given = Object.entries(webhookFields).map(([field, pattern]) => {
    if (!pattern.test(String(fields[field]))) throw new Error(`${field}: Invalid value: ${fields[field]}`)
    return field
  })
  requireNone(Object.fromEntries(Object.entries(fields).filter(([field]) => !given.includes(field))))
  const { type, kubeConfigFile: file } = connectionInfo as Record<string, unknown>
  if (type !== 'KubeConfigFile' || typeof file !== 'string' || !isAbsolute(file))
    throw new Error(`kubeConfigFile: Invalid value: "${file}": must be an absolute path`)
  requireServer(file)
  const [first = '', second = '', ...more] = (matchConditions as { expression: string }[]).map(
    (each) => each.expression,
  )
  const [, users] = /^request\.user in \[((?:'[^'\\]*'(?:, |(?=\])))*)\]$/.exec(first) ?? []
  if (users === undefined || !/^request\.extra\['[^'\\]+'\]\[0\] == '[^'\\]*'$/.test(second) || more.length > 0)
    throw new Error('matchConditions: compilation failed: this stand-in does not play them')
  return Array.from(users.matchAll(/'([^']*)'/g), ([, user = '']) => user)
}

interface Named {
  readonly name: string
  readonly context?: { readonly cluster: string }
  readonly cluster?: { readonly server?: string }
}

function requireServer(kubeconfig: string): void {
  const { clusters = [], contexts = [], 'current-context': current } = parse(readFileSync(kubeconfig, 'utf8')) ?? {}
  const named = (all: readonly Named[], name: string | undefined) => all.find((each) => each.name === name)
  if (named(clusters, named(contexts, current)?.context?.cluster)?.cluster?.server === undefined)
    throw new Error('invalid authorization config: invalid configuration: no configuration has been provided')
}
