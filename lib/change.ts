/** What a build makes, or what a dry run says that it would make: facts where it is made, text where it is shown. */

export type Change =
  | {
      readonly kind: 'made'
      /** Files of auth/ that are written anew. */
      readonly files: readonly string[]
      /** Nothing was there before. */
      readonly isNew: boolean
      /** What was made under the one that was there is worthless from then on. */
      readonly isReplaced?: true
      /** What the certificate says. */
      readonly is?: CertificateFacts | undefined
      /** What the one said that it replaces. */
      readonly was?: CertificateFacts | undefined
    }
  /** In the folder of a node. */
  | { readonly kind: 'deployed'; readonly files: readonly string[]; readonly removed: readonly string[] }
  /** Absolute paths on a node, and the units there that were restarted, in that order. */
  | { readonly kind: 'installed'; readonly paths: readonly string[]; readonly restarts: readonly string[] }
  /** What a stage of a rotation promises, by the answers of these units of a node. */
  | { readonly kind: 'proven'; readonly units: readonly string[] }
  /** Stored objects, each as it was. */
  | { readonly kind: 'rewritten'; readonly objects: number }

export interface CertificateFacts {
  /** `rsa-2048`. */
  readonly key: string
  readonly expires: Date
  /** How many names and addresses it is for. */
  readonly names: number
}

/** What a build is doing now. */
export type Step =
  | { readonly doing: 'new key' | 'signing' | 'swapping' | 'checking again' }
  | { readonly doing: 'copying' | 'installing'; readonly files: number }
  | { readonly doing: 'restarting'; readonly unit: string }
  | { readonly doing: 'draining' | 'undraining'; readonly node: string }
  | { readonly doing: 'rewriting'; readonly done: number; readonly of: number }
  | { readonly doing: 'waiting for'; readonly unit: string; readonly path: string }
