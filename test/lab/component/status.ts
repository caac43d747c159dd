/** Answers that are no success, in the form of the Kubernetes API. */
export class StatusError extends Error {
  readonly code: number
  readonly reason: string

  constructor(code: number, reason: string, message: string) {
    super(message)
    this.code = code
    this.reason = reason
  }

  answer(): { status: number; body: object } {
    const { code, reason, message } = this
    const body = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code }
    return { status: code, body }
  }
}
