/**
 * A stand-in for kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and kube-proxy, of which Debian has
 * no packages. It takes the guide's flags and files, and takes them up when the real ones do, of the release in
 * version.ts:
 * - by itself: the API server's and the kubelet's serving pair and client CA (a pair that is none: the old one stays),
 *   and the
 *   CA of the front proxy; the pair that the API server shows etcd, at each new connection;
 * - at the start: etcd's CA, service-account keys, kubeconfigs, the controller manager's CA;
 * - every five minutes: a pair, and from 1.36 on a CA, that a kubeconfig names by file: a kubelet's and a proxy's
 *   metrics say so;
 * - the encryption configuration at the start, or once a minute with --encryption-provider-config-automatic-reload;
 * - the authorization configuration as soon as it changes, in the one form that authorization.ts names. What it does is
 *   real: TLS, requests to etcd over its JSON gateway, Secrets encrypted with the keys of the configuration, under the
 *   real prefix (aescbc, aesgcm, secretbox), by one cipher for all, tokens, client certificates judged at each request.
 *
 * What it cannot: there are no pods, controllers, scheduling, leases that are lost, watches, selectors, server-side
 * apply, OpenAPI, aggregated APIs, kms, RBAC beyond who is of system:masters; values in etcd are JSON, not protobuf;
 * every namespace and every service account exists; objects have no uid and no time; keys of tokens are RSA or P-256.
 */
import { flushCompileCache } from 'node:module'
import { startApiServer } from './api-server.ts'
import { startControllerManager, startProxy, startScheduler } from './clients.ts'
import { parseFlags } from './flags.ts'
import { startKubelet } from './kubelet.ts'

const [, , component = '', ...args] = process.argv
try {
  const flags = parseFlags(component, args)
  switch (component) {
    case 'kube-apiserver':
      await startApiServer(flags)
      break
    case 'kube-controller-manager':
      await startControllerManager(flags)
      break
    case 'kube-scheduler':
      await startScheduler(flags)
      break
    case 'kubelet':
      await startKubelet(flags)
      break
    case 'kube-proxy':
      await startProxy(flags)
  }
  // Not left for its end, which may be any: the next start is twice as fast.
  flushCompileCache()
} catch (error) {
  process.stderr.write(`Error: ${error instanceof Error ? error.message : error}\n`)
  process.exit(1)
}
