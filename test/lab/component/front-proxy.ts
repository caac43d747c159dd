/**
 * The flags --requestheader-*: a client with a certificate of that CA is whom its headers name (apiserver,
 * authentication/request/headerrequest). No API is proxied to: the stand-in has no aggregated ones.
 */

import type { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import type { TLSSocket } from 'node:tls'
import type { Flags } from './flags.ts'
import { clientOf, readCertificates, subjectOf, type User } from './identity.ts'
import { isSince } from './version.ts'

export interface FrontProxy {
  readonly clientCA: string
  /** Of certificates; empty: any. */
  readonly allowedNames: readonly string[]
  readonly usernameHeaders: readonly string[]
  readonly groupHeaders: readonly string[]
}

/** Undefined without a CA of its own. Throws where any client's certificate would do for any user's name. */
export function readFrontProxy(flags: Flags): FrontProxy | undefined {
  const list = (name: string) => flags.get(`requestheader-${name}`)?.split(',').filter(Boolean) ?? []
  const clientCA = flags.get('requestheader-client-ca-file')
  if (clientCA === undefined) return undefined
  const allowedNames = list('allowed-names')
  const [own = [], clients = []] = [clientCA, flags.get('client-ca-file') ?? ''].map((path) =>
    readCertificates(readFileSync(path)),
  )
  // Since 1.35: pkg/kubeapiserver/options/authentication.go.
  if (isSince('1.35') && allowedNames.length === 0 && own.some(({ raw }) => clients.some((ca) => ca.raw.equals(raw))))
    throw new Error(
      '--requestheader-client-ca-file and --client-ca-file contain overlapping certificates; --requestheader-allowed-names must ' +
        'be specified to ensure regular client certificates cannot set authenticating proxy headers for arbitrary users',
    )
  return {
    clientCA,
    allowedNames,
    usernameHeaders: list('username-headers'),
    groupHeaders: list('group-headers'),
  }
}

/** Undefined where it is for the client's own certificate to say who asks. */
export function proxiedUser(
  { allowedNames, usernameHeaders, groupHeaders }: FrontProxy,
  { headersDistinct, socket }: IncomingMessage,
  roots: readonly X509Certificate[],
): User | undefined {
  const proxy = clientOf(socket as TLSSocket, roots)
  if (typeof proxy === 'string') return undefined
  if (allowedNames.length > 0 && !allowedNames.includes(String(subjectOf(proxy).CN))) return undefined
  const values = (names: readonly string[]) =>
    names.flatMap((name) => headersDistinct[name.toLowerCase()] ?? []).filter(Boolean)
  const [username] = values(usernameHeaders)
  if (username === undefined) return undefined
  return { username, groups: [...values(groupHeaders), 'system:authenticated'] }
}
