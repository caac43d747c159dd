/**
 * extension-apiserver-authentication: by it aggregated API servers know whose certificates to accept. kube-apiserver only
 * ever adds to it, and takes out what has expired: after a rotation it would trust the earlier CA until its end.
 * https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
 */
import * as v from 'valibot'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import { inShape, readObject } from '../../lib/kubernetes/probe.ts'
import { readCertificate, readDerCertificate } from '../../lib/pki/certificate.ts'
import { blocksIn, certificatePem } from '../../lib/pki/pem.ts'
import { type Serving, withApi } from '../nodes/component.ts'

const path = '/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication'
const field = 'client-ca-file'
const mostTries = 10

/** Written back as it was read, but for that field. */
const configMap = v.looseObject({ data: v.optional(v.record(v.string(), v.string()), {}) })

/** Once each API server has loaded the new one alone: what is left in there is not put back. */
export async function forgetEarlierCa(serving: Serving, node: ClusterNode, ca: Buffer): Promise<void> {
  const earlier = readCertificate(ca)?.publicKey
  if (!earlier) return
  // By its key: one that was renewed is there in each of its certificates.
  const isOf = (der: Buffer) => readDerCertificate(der)?.publicKey.equals(earlier) === true
  await withApi(serving, node, async (api) => {
    for (let tries = 0; tries < mostTries; tries++) {
      const read = await api.ask('GET', path)
      // No aggregated API server was ever told of any.
      if (read.status === 404) return
      if (read.status !== 200) throw new Failure(`GET ${path} answers ${read.status}`)
      const map = inShape(configMap, readObject(read, `GET ${path}`), `GET ${path}`)
      const held = blocksIn(map.data[field] ?? '', 'CERTIFICATE')
      if (!held.some(isOf)) return
      const left = held.filter((der) => !isOf(der)).map(certificatePem)
      const data = { ...map.data, [field]: left.join('') }
      // Another API server may have written it: read again.
      const written = await api.ask('PUT', path, { ...map, data })
      if (written.status === 200) return
      if (written.status !== 409) throw new Failure(`PUT ${path} answers ${written.status}`)
    }
    throw new Failure(`${path} was changed by somebody else each time`, { remedy: runAgain })
  })
}
