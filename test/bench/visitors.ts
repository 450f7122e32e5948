/** Browsers, as far as a benchmark needs them: each has a session of its own that has started something. */
import { inParallel } from './in-parallel.ts'

export interface Visitor {
  /** The `Cookie` header. */
  readonly cookie: string
  readonly transaction: string
}

/** Starts a login of its own for each. */
export async function visitors(origin: string, count: number): Promise<Visitor[]> {
  const all: Visitor[] = []
  await inParallel(Array(count).keys(), 16, async (number) => {
    all.push(await visitor(origin, `visitor-${number}`))
  })
  return all
}

export async function visitor(origin: string, loginHint: string): Promise<Visitor> {
  const answer = await fetch(`${origin}/ciba/start`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ loginHint }),
  })
  const { transaction } = (await answer.json()) as { transaction?: string }
  const cookie = answer.headers.getSetCookie()[0]?.split(';', 1)[0]
  if (answer.status !== 202 || cookie === undefined || transaction === undefined) {
    throw new Error(`a start was answered ${answer.status}`)
  }
  return { cookie, transaction }
}
