/**
 * The ConfigMap extension-apiserver-authentication, from which aggregated API servers read whose client certificates to accept.
 * kube-apiserver only adds to it, and removes what has expired: after a rotation the previous CA would be trusted until it
 * expires. https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
 */
import * as v from 'valibot'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import { isAnswer } from '../../lib/kubernetes/probe.ts'
import { readCertificate, readDerCertificate } from '../../lib/pki/certificate.ts'
import { blocksIn, certificatePem } from '../../lib/pki/pem.ts'
import { type Serving, withApi } from '../nodes/component.ts'

const path = '/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication'
const field = 'client-ca-file'
const mostTries = 10

/** Everything but that field is written back as it was read. */
const configMap = v.looseObject({ data: v.optional(v.record(v.string(), v.string()), {}) })

/** Only once every API server has loaded the new CA alone: else one of them would add the previous CA again. */
export async function forgetPreviousCa(serving: Serving, node: ClusterNode, ca: Buffer): Promise<void> {
  const previous = readCertificate(ca)?.publicKey
  if (!previous) return
  // By its key: a CA that was renewed is in there with each of its certificates.
  const isPrevious = (der: Buffer) => readDerCertificate(der)?.publicKey.equals(previous) === true
  await withApi(serving, node, async (api) => {
    for (let tries = 0; tries < mostTries; tries++)
      try {
        const map = await api.readAs(configMap, 'GET', path)
        const held = blocksIn(map.data[field] ?? '', 'CERTIFICATE')
        if (!held.some(isPrevious)) return
        const left = held.filter((der) => !isPrevious(der)).map(certificatePem)
        await api.read('PUT', path, { ...map, data: { ...map.data, [field]: left.join('') } })
        return
      } catch (error) {
        // No aggregated API server was given any.
        if (isAnswer(error, 404)) return
        // Another API server wrote it meanwhile.
        if (!isAnswer(error, 409)) throw error
      }
    throw new Failure(`${path} was changed by somebody else each time`, { remedy: runAgain })
  })
}
