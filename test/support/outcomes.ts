/** How asynchronous work ends: failures as values, and ends that a test brings about. Knows nothing of the work. */
import { CibaError } from '../../lib/errors.ts'

/** The `CibaError` with which the work fails; everything else is thrown. */
export async function failureOf(work: Promise<unknown>): Promise<CibaError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (error instanceof CibaError) return error
  throw new Error(`it did not fail with a CibaError: ${error}`, { cause: error })
}

/** A promise, and what resolves it. */
export interface Later<Value> {
  readonly promise: Promise<Value>
  resolve(value: Value): void
}

export function later<Value = void>(): Later<Value> {
  let resolve: (value: Value) => void = () => {}
  const promise = new Promise<Value>((settle) => {
    resolve = settle
  })
  return { promise, resolve: (value) => resolve(value) }
}
