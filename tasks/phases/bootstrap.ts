/** The phases, in the guide's order: the name of each, and what it makes. */

/** `makes`: what it makes, in a few words, for --list. */
export const phases = [
  { name: 'ca', title: 'Certificate authority', makes: 'the CA certificate and its key' },
  {
    name: 'cluster-cert',
    title: 'Cluster certificate',
    makes: "the API server's certificate and key",
  },
  {
    name: 'component-certs',
    title: 'Component certificates',
    makes: 'certificates of the admin and the components, and the service-account key',
  },
  {
    name: 'node-certs',
    title: 'Node certificates',
    makes: "a certificate for each node's kubelet, as server and as client",
  },
  {
    name: 'user-certs',
    title: 'User certificates',
    makes: 'a certificate for each of users in cluster.yaml, with its groups',
  },
  { name: 'kubeconfigs', title: 'Kubeconfigs', makes: '<client>.kubeconfig' },
  { name: 'encryption-key', title: 'Encryption key', makes: 'encryption-config.yaml' },
  {
    name: 'revoked',
    title: 'Revoked',
    makes: 'authorization-config.yaml: who is cut off; if cluster.yaml has revoked',
  },
  { name: 'deploy', title: 'Deploy to nodes', makes: "each role's files on each node, by ssh and scp" },
  {
    name: 'install',
    title: 'Running components',
    makes: 'the same files where the units on each node read them, loaded; if cluster.yaml has install',
  },
  { name: 'local-kubeconfig', title: 'Local kubeconfig', makes: "the admin's entry in your own kubeconfig" },
] as const

export const phaseTitles: ReadonlyMap<string, string> = new Map(phases.map(({ name, title }) => [name, title]))

/** Names for several phases at once. */
export const groups: Readonly<Record<string, readonly string[]>> = {
  bootstrap: phases.map(({ name }) => name),
  certs: ['ca', 'cluster-cert', 'component-certs', 'node-certs', 'user-certs'],
}
