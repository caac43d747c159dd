/** What a build makes, or what a dry run says it would make: facts here, text where they are shown. */
export type Change =
  | {
      readonly kind: 'made'
      /** Files of auth/ that are written. */
      readonly files: readonly string[]
      /** Nothing was there before. */
      readonly isNew: boolean
      /** Whatever was made with the replaced one stops working. */
      readonly isReplaced?: true
      /** A file that was lost, byte for byte: whoever has a copy has the same. */
      readonly isRestored?: true
      /** Facts about the certificate. */
      readonly is?: CertificateFacts | undefined
      /** Facts about the certificate that it replaces. */
      readonly was?: CertificateFacts | undefined
    }
  /** In the folder of a node. */
  | { readonly kind: 'deployed'; readonly files: readonly string[]; readonly removed: readonly string[] }
  /** Absolute paths on a node, and the units there that were restarted, in that order. */
  | {
      readonly kind: 'installed'
      readonly paths: readonly string[]
      readonly removed: readonly string[]
      readonly restarts: readonly string[]
    }
  /** The promise of a rotation stage, proven by the answers of these units of a node. */
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
