/** What --help says of a phase besides what it makes: one row for each. Pure. */

interface PhaseHelp {
  /** What it is made from. */
  readonly from: string
  readonly for: string
  /** What --force does; none for what only a full run does. */
  readonly force?: string
  /** Commands for it besides those that every phase has. */
  readonly also?: readonly (readonly [task: string, does: string])[]
}

const asks = 'asks for the name of the cluster'

export const phaseHelp: Readonly<Record<string, PhaseHelp>> = {
  ca: {
    from: 'subject and certificates in cluster.yaml; with etcd.ca: own and aggregation, CAs for these too',
    for: 'every other certificate, which it signs; nodes and kubeconfigs get its certificate',
    force: `only if named: replaces the CA, and everything that uses it stops; ${asks}`,
    also: [
      ['ca --renew', 'gives the CA a later expiry; its key stays'],
      ['rotate ca', 'replaces the CA in stages, while the cluster runs'],
    ],
  },
  'cluster-cert': {
    from: 'api, network and nodes in cluster.yaml; signed by the CA',
    for: 'kube-apiserver and etcd, on control nodes',
    force: 'issues it again, with a new key',
  },
  'component-certs': {
    from: 'certificates in cluster.yaml; signed by the CA',
    for: 'the admin and the components of the cluster; tokens of service accounts',
    force: 'issues them again, with new keys; the service-account key stays',
    also: [
      ['component-certs/service-account --force', `replaces that key, and every token is rejected; ${asks}`],
      ['rotate service-account', 'replaces that key in stages, while the cluster runs'],
    ],
  },
  'node-certs': {
    from: 'nodes in cluster.yaml; signed by the CA',
    for: 'the kubelet of each node',
    force: 'issues them again, with new keys',
  },
  'user-certs': {
    from: 'users in cluster.yaml; signed by the CA',
    for: 'each user, as part of a kubeconfig',
    force: 'issues them again, with new keys',
  },
  kubeconfigs: {
    from: "the CA's certificate, the certificate and key of each client, and api in cluster.yaml",
    for: 'the components on nodes, administrators and users',
    force: 'writes them again',
  },
  'encryption-key': {
    from: 'encryption in cluster.yaml, and a random key',
    for: 'kube-apiserver, which encrypts Secrets in etcd with it',
    force: `only if named: replaces the key, and nobody can read the Secrets that are stored; ${asks}`,
    also: [['rotate encryption-key', 'replaces the key in stages, and encrypts Secrets again']],
  },
  revoked: {
    from: 'revoked in cluster.yaml, and the certificates in auth/ and its backup',
    for: 'API servers, which deny whoever is listed',
    force: 'writes the list again',
  },
  deploy: {
    from: 'the files in auth/',
    for: 'the directory of each node (ssh.directory), where install or you take them from',
    force: 'copies every file again, over newer certificates too',
    also: [['deploy --node worker0', 'copies only to this node']],
  },
  install: {
    from: 'the files that deploy has copied',
    for: 'the units of each node, which are restarted where they do not reload files',
    force: 'installs every file again, and restarts what reads files only at its start',
    also: [['install --node worker0', 'installs only on this node']],
  },
  'local-kubeconfig': {
    from: 'the certificate and key of the admin, or of the user in localKubeconfig',
    for: 'kubectl on this machine',
    force: 'writes the entry again',
  },
  'revoked-keys': {
    from: 'revoked in cluster.yaml, and what units have loaded; only a full run knows all of them',
    for: 'API servers, which deny the old key of whoever has a new one',
  },
}
