/** Kubeconfigs as users have them: three clusters that are not ours, in many layouts. */

const block = `apiVersion: v1
clusters:
- cluster:
    certificate-authority: /etc/one/ca.pem
    server: https://one.example:6443
  name: one
- cluster:
    insecure-skip-tls-verify: true
    server: https://two.example:6443
  name: two
- cluster:
    certificate-authority-data: dGhyZWU=
    proxy-url: socks5://localhost:1080
    server: https://three.example:6443
  name: three
contexts:
- context:
    cluster: one
    namespace: team
    user: one
  name: one
- context:
    cluster: two
    user: two
  name: two
- context:
    cluster: three
    user: three
  name: three
current-context: two
kind: Config
users:
- name: one
  user:
    client-certificate: /etc/one/one.pem
    client-key: /etc/one/one-key.pem
- name: two
  user:
    token: two
- name: three
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      args:
      - get-token
      - --cluster
      - three
      command: aws
      env:
      - name: AWS_PROFILE
        value: three
      interactiveMode: IfAvailable
      provideClusterInfo: false
`

const commented = `# My clusters. Don't touch.

apiVersion: v1   # there is no v2
kind: Config

# ---- clusters ----
clusters:
    # the first

    -   name:   one            # named one
        cluster:
            server:   https://one.example:6443    # behind the VPN
            # inline:
            certificate-authority-data:   b25l


    -   cluster: {server: 'https://two.example:6443', insecure-skip-tls-verify: true}   # flow
        name: "two"
    # the last
    -   cluster:
          server: "https://three.example:6443"

          x-mine: [1, 2,   3]
        name: 'three'
# ---- contexts ----
contexts:
  - {name: one, context: {cluster: one, user: one}}

  - name: two # second
    context:
        user: two
        cluster: two

  - { "name": "three", "context": { "cluster": "three", "user": "three" } }

current-context:   "two"    # the one I work with
x-colors:
    one: red
    two:  'green'

# ---- users ----
users:
    -   name: one
        user:
            token: >-
                a token
                on two lines
    -   name: two
        user:
            password: |
              keep
                this

              as it is
            username: two
    -   name: three
        user: {}

# the end
`

const json = `{
  "kind": "Config",
  "apiVersion": "v1",
  "clusters": [
    { "name": "one", "cluster": { "server": "https://one.example:6443" } },
    { "name": "two", "cluster": { "server": "https://two.example:6443" } },
    {
      "name": "three",
      "cluster": {
        "server": "https://three.example:6443",
        "x-mine": 3
      }
    }
  ],
  "contexts": [ { "name": "one", "context": { "cluster": "one", "user": "one" } } ],
  "current-context": "one",
  "users": [ { "name": "one", "user": { "token": "t\\u006fken" } } ]
}
`

const anchors = `apiVersion: v1
kind: Config
x-defaults: &ca
  certificate-authority-data: b25l
clusters:
- name: one
  cluster: &one
    server: https://one.example:6443
    certificate-authority-data: b25l
- name: two
  cluster: *one
- name: three
  cluster: {server: &three https://three.example:6443, tls-server-name: *three}
contexts:
- name: one
  context: {cluster: one, user: one}
current-context: one
users:
- name: one
  user: {token: &token abc}
- name: two
  user: {token: *token}
`

export interface Sample {
  readonly text: string
  /** Lines that are ours to change. */
  readonly changed?: readonly string[]
  /** kubectl can't read it. */
  readonly foreignToKubectl?: true
}

const current = 'current-context: two'

/** Each can be changed without touching what is not ours. */
export const samples: Readonly<Record<string, Sample>> = {
  'as kubectl writes it': { text: block, changed: [current] },
  'with comments, odd indents and unknown fields': {
    text: commented,
    changed: ['current-context:   "two"    # the one I work with'],
  },
  'with the line ends of Windows': { text: block.replaceAll('\n', '\r\n'), changed: [`${current}\r`] },
  'with comments and the line ends of Windows': {
    text: commented.replaceAll('\n', '\r\n'),
    changed: ['current-context:   "two"    # the one I work with\r'],
  },
  'with no newline at its end': { text: block.trimEnd(), changed: [current] },
  'in JSON': {
    text: json,
    changed: [
      '    }',
      '  "contexts": [ { "name": "one", "context": { "cluster": "one", "user": "one" } } ],',
      '  "current-context": "one",',
      '  "users": [ { "name": "one", "user": { "token": "t\\u006fken" } } ]',
    ],
  },
  'in JSON on one line': { text: JSON.stringify(JSON.parse(json)), changed: [JSON.stringify(JSON.parse(json))] },
  'with anchors of its own': { text: anchors, changed: ['current-context: one'] },
  'that begins with three dashes': { text: `---\n${block}`, changed: [current] },
  'that ends with three dots': { text: `${block}...\n`, changed: [current] },
  'that begins with a byte order mark': { text: `\uFEFF${block}`, changed: [current] },
  'with lists that are null': {
    text: 'apiVersion: v1\nclusters: null\ncontexts: ~\ncurrent-context: ""\nkind: Config\npreferences: {}\nusers:\n',
    changed: ['clusters: null', 'contexts: ~', 'current-context: ""', 'users:'],
  },
  'with empty lists': {
    text: '# mine\napiVersion: v1\nclusters: [] # none\ncontexts: [ ]\ncurrent-context: ""\nkind: Config\nusers: []\n# end\n',
    changed: ['clusters: [] # none', 'contexts: [ ]', 'current-context: ""', 'users: []'],
  },
  'without any list': { text: 'kind: Config\napiVersion: v1\n' },
  'with nothing in it': { text: '' },
  'with a blank line in it': { text: '\n' },
  'with only a comment in it, and no newline': { text: '# mine' },
  'with three dashes in it': { text: '---\n' },
  'with an empty map in it': { text: '{}\n', changed: ['{}'] },
  'whose last value is a block of text': {
    text: 'apiVersion: v1\nkind: Config\nx-notes: |\n  one\n\n  two\n\n\n# the end\n',
  },
  'whose last value is a block of text that keeps its blank lines': {
    text: 'apiVersion: v1\nkind: Config\nx-notes: |+\n  one\n\n\n',
  },
  'whose last value is a text on two lines': { text: 'apiVersion: v1\nkind: Config\nx-notes: "one\n  two"\n' },
  'with keys in quotes': {
    text: '"apiVersion": v1\n"kind": Config\n\'clusters\': []\n"current-context": \'\'\n',
    changed: ["'clusters': []", `"current-context": ''`],
  },
  'with ours in it, said otherwise': {
    text: `apiVersion: v1
kind: Config
clusters:
  - name: kubenet # from last year
    cluster:
      proxy-url: http://proxy:3128   # the only way there
      certificate-authority: /home/me/auth/ca.pem
      server: "https://192.168.1.21:6443" # by address
      tls-server-name: kubernetes
  - name: one
    cluster: {server: 'https://one.example:6443'}
contexts:
  - {name: one, context: {cluster: one, user: one}}
  - name: kubenet
    context:
      namespace: kube-system # where I look first
      cluster: kubenet
      user: root
users:
  - {name: one, user: {token: abc}}
  - name: admin
    user:
      client-certificate: /home/me/auth/admin.pem
      client-key: /home/me/auth/admin-key.pem
      impersonate: somebody
current-context: kubenet
`,
    changed: [
      '      certificate-authority: /home/me/auth/ca.pem',
      '      server: "https://192.168.1.21:6443" # by address',
      '      tls-server-name: kubernetes',
      '      user: root',
      '      client-certificate: /home/me/auth/admin.pem',
      '      client-key: /home/me/auth/admin-key.pem',
    ],
  },
  'with ours in it in flow style': {
    text: `apiVersion: v1
kind: Config
clusters: [{name: kubenet, cluster: {insecure-skip-tls-verify: true, server: 'https://x:1', x-mine: 1}}]
contexts: [{name: kubenet, context: {}}]
users: [{name: admin, user: {client-key: a, token: t, client-certificate: b}}]
`,
    changed: [
      "clusters: [{name: kubenet, cluster: {insecure-skip-tls-verify: true, server: 'https://x:1', x-mine: 1}}]",
      'contexts: [{name: kubenet, context: {}}]',
      'users: [{name: admin, user: {client-key: a, token: t, client-certificate: b}}]',
    ],
  },
}

/** None of these can: what is there would have to change, or can't be read. */
export const refused: Readonly<Record<string, string>> = {
  'ours is an alias of another entry': `clusters:
- name: one
  cluster: &all
    server: https://x:1
- name: kubenet
  cluster: *all
`,
  'the current context is an anchor': 'current-context: &now one\nx-last: *now\n',
  'it is a list': '- one\n- two\n',
  'it is a word': 'kubeconfig\n',
  'it is cut off': 'clusters: [{name: one, cluster: {serv',
  'a key stands twice': 'kind: Config\nkind: Config\n',
  'it has two documents': 'kind: Config\n---\nkind: Config\n',
  'a tab indents it': 'clusters:\n\t- name: one\n',
}
