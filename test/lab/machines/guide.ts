/** A guide as data: which machines it has, and what its chapters have run on them. */
import type { Machine, Role } from './machine.ts'
import type { Unit } from './unit.ts'

export interface Guide {
  readonly machines: readonly { readonly name: string; readonly role: Role; readonly ip: string }[]
  /** The lines of /etc/hosts. */
  readonly hosts: readonly string[]
  /** The gateway has it, and each control node on `lo`. */
  readonly virtualIP?: string
  /** Of the user who logs in by ssh. */
  readonly home: '/home/ubuntu' | '/root'
  /** A cluster.yaml, without `nodes`. */
  readonly cluster: string
  /** A gateway has none. */
  units(machine: Pick<Machine, 'name' | 'role' | 'ip'>): Unit[]
  /** Command lines for the cluster's folder: each succeeds once what it queries is healthy. */
  readonly checks: readonly string[]
  readonly probed: Probed
}

/** What prober.ts sends requests to. Files are of auth/; a pair is certificate and key. */
export interface Probed {
  readonly api: string
  readonly ca: string
  readonly admin: Pair
  /** Undefined where the network does not reach it. */
  readonly etcd?: { readonly ca?: string; readonly pair: Pair; readonly members: readonly string[] }
}

export type Pair = readonly [certificate: string, key: string]
