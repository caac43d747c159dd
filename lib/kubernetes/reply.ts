/** What a server on a node answers, and its failures: they quote nothing of an answer. */
import * as v from 'valibot'
import { Failure } from '../failure.ts'

export interface Reply {
  readonly status: number
  readonly body: string
  /** The header of that name. */
  readonly date: string | undefined
  /** DER of the certificate that the server presented; undefined without TLS. */
  readonly served: Buffer | undefined
}

/** A Failure stays as it is: that there is no way to the node is another one. */
export function notAnswered(error: Error): Failure {
  if (error instanceof Failure) return error
  const isLate = error.name === 'AbortError'
  return new Failure(isLate ? 'it did not answer in time' : error.message, { code: 'not-answered', cause: error })
}

/** The JSON object of an answer. Throws a Failure that quotes nothing: it may hold a Secret. */
export function readObject({ body }: Reply, source: string): object {
  try {
    const value: unknown = JSON.parse(body)
    if (typeof value === 'object' && value !== null) return value
  } catch {
    // The parser's message quotes the text.
  }
  throw new Failure(`${source} does not answer with a JSON object`, { code: 'not-answered' })
}

/** Throws a Failure that quotes nothing. */
export function inShape<Schema extends v.GenericSchema>(
  schema: Schema,
  value: unknown,
  source: string,
): v.InferOutput<Schema> {
  const parsed = v.safeParse(schema, value)
  if (parsed.success) return parsed.output
  throw new Failure(`${source} answers in an unexpected form`, { code: 'not-answered' })
}

/** True if a server answered with one of these statuses, where another was expected. */
export function isAnswer(error: unknown, ...statuses: readonly number[]): boolean {
  return error instanceof Failure && statuses.some((status) => error.code === `http-${status}`)
}
