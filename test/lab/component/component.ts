/**
 * A stand-in for kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and kube-proxy of 1.36, of which
 * Debian has no packages. It takes the guide's flags and files, and takes them up when the real ones do:
 * - by itself: the API server's and the kubelet's serving pair and client CA (a pair that is none: the old one stays),
 *   and the CA of the front proxy; the pair that the API server shows etcd, at each new connection;
 * - at the start: etcd's CA, service-account keys, the encryption configuration, kubeconfigs, the controller manager's
 *   CA;
 * - every five minutes: a pair and a CA that a kubeconfig names by file, as a kubelet's and a proxy's metrics say;
 * - the authorization configuration as soon as it changes, in the one form that authorization.ts names.
 *
 * What it does is real: TLS, requests to etcd over its JSON gateway, Secrets encrypted with the keys of the
 * configuration under the real prefix (by one cipher for all), tokens, client certificates judged at each request.
 * Values in etcd are JSON, every namespace and service account exists, and RBAC knows who is of system:masters.
 */
import { flushCompileCache } from 'node:module'
import { startApiServer } from './api-server.ts'
import { startControllerManager, startKubelet, startProxy, startScheduler } from './clients.ts'
import { parseFlags } from './flags.ts'

const starts = {
  'kube-apiserver': startApiServer,
  'kube-controller-manager': startControllerManager,
  'kube-scheduler': startScheduler,
  kubelet: startKubelet,
  'kube-proxy': startProxy,
}
const [, , component = '', ...args] = process.argv
try {
  await starts[component as keyof typeof starts](parseFlags(component, args))
  // Not left for its end, which may be any: the next start is twice as fast.
  flushCompileCache()
} catch (error) {
  process.stderr.write(`Error: ${error instanceof Error ? error.message : error}\n`)
  process.exit(1)
}
