/**
 * Judges a run after its end: whether each login came to its right end, in the right session, once. Knows what everybody saw,
 * and what nobody saw.
 */
import type { SessionData } from 'express-session'
import { type DeliveryMode, isOpen, shortId, type Transaction } from '../../lib/transaction.ts'
import type { Browser, Told } from './chaos-browser.ts'
import type { Prompt } from './chaos-prompts.ts'

/** What was seen of a transaction in the store. */
export interface Known {
  readonly newest: Transaction
  /** It once had the tokens. */
  readonly wasComplete: boolean
}

/** A process, as far as a judge is concerned. */
export interface Mortal {
  readonly diedAt: number
}

export interface Evidence {
  readonly mode: DeliveryMode
  readonly browsers: readonly Browser[]
  readonly prompts: ReadonlyMap<string, Prompt>
  readonly transactions: ReadonlyMap<string, Known>
  /** Those that are left, by their ids. */
  readonly sessions: ReadonlyMap<string, string>
  /** Of these, the ones that had ended, and that a slow request has written back. */
  readonly broughtBack: ReadonlySet<string>
  /** A lease may have been left behind by who never came to send its request. */
  readonly leavesLeases: boolean
  /** How often `signedIn` was said, by the short ids of the transactions. */
  readonly signedIn: ReadonlyMap<string, number>
}

export interface Bench {
  report(rule: string, about: string, what: string): void
  count(what: string): void
}

/** How long a process may try to record tokens that have come, and a little more. */
const recordingMs = 62_000
/** The app counts the life of a request from before its record was stored, and a store may freeze for as long. */
const lastMomentMs = 20_000

export function judge(evidence: Evidence, bench: Bench): void {
  for (const browser of evidence.browsers) {
    for (const told of browser.told) judgeEnd(evidence, bench, browser, told)
    judgeBrowser(evidence, bench, browser)
  }
  judgeSessions(evidence, bench)
}

function judgeBrowser(
  { sessions, signedIn, broughtBack, transactions }: Evidence,
  bench: Bench,
  browser: Browser,
): void {
  const { person, signedIn: who, session } = browser
  const own = sessions.get(session ?? '')
  const stored = own === undefined ? undefined : (JSON.parse(own) as SessionData).ciba
  const { login, origin } = stored ?? { login: undefined, origin: undefined }
  if (who?.accessToken !== login?.tokens.accessToken) {
    bench.report('I4', person, 'its session is not what it was shown')
  }
  if (origin && sessions.has(origin.from) && !broughtBack.has(origin.from)) {
    bench.report('I4', person, 'the session before has not ended')
  }
  const record = transactions.get(login?.transaction ?? '')?.newest
  if (record?.state === 'complete' && record.delivery !== 'delivered') {
    bench.report('I4', person, 'its tokens can be had once more')
  }
  for (const transaction of browser.transactions) {
    const said = signedIn.get(shortId(transaction)) ?? 0
    if (said > 1) bench.count('signedIn said again after trouble')
    if (said === 0 && login?.transaction === transaction) bench.count('signedIn never said')
  }
}

function judgeSessions({ browsers, sessions, broughtBack }: Evidence, bench: Bench): void {
  const reached = new Set(browsers.flatMap((browser) => [...browser.sessions]))
  const holders = new Map<string, string[]>()
  for (const [id, text] of sessions) {
    const login = (JSON.parse(text) as SessionData).ciba?.login
    if (!login) continue
    if (broughtBack.has(id)) bench.count('ended sessions that a slow request has written back')
    else if (!reached.has(id)) bench.count('signed-in sessions whose cookie never arrived')
    else holders.set(login.transaction, [...(holders.get(login.transaction) ?? []), id.slice(0, 4)])
  }
  for (const [transaction, ids] of holders) {
    const person = browsers.find(({ transactions }) => transactions.includes(transaction))?.person ?? ''
    if (ids.length > 1) bench.report('I4', person, `${ids.length} live sessions: ${ids}`)
  }
}

function judgeEnd(evidence: Evidence, bench: Bench, browser: Browser, told: Told): void {
  const { transaction, status, error } = told
  const end = error === undefined ? status : `${status} (${error})`
  bench.count(end)
  const known = evidence.transactions.get(transaction)
  const prompt = evidence.prompts.get(known?.newest.authReqId ?? '')
  const complaint =
    status === 'complete'
      ? complaintOfCompletion(browser, prompt)
      : complaintOfLoss(evidence, bench, browser, told, known, prompt)
  if (complaint !== undefined) bench.report('I5', browser.person, `told ${end}, but ${complaint}`)
}

function complaintOfCompletion({ signedIn, transactions }: Browser, prompt?: Prompt): string | undefined {
  if (prompt?.verdict !== 'approve') return 'the person has not approved'
  if (!signedIn) return 'it is not signed in in the end'
  const isOnly = transactions.length === 1
  return isOnly && signedIn.accessToken !== prompt.accessToken ? `it has ${signedIn.accessToken}` : undefined
}

/** Nobody is signed in, and there must be a good reason, which was told. */
function complaintOfLoss(
  { mode, leavesLeases }: Evidence,
  bench: Bench,
  { person }: Browser,
  { status, error }: Told,
  known: Known | undefined,
  prompt: Prompt | undefined,
): string | undefined {
  if (!known) return 'it was never in the store'
  const saysUnknown = error === 'outcome_unknown'
  if (person.startsWith('nobody')) {
    return status === 'expired' || (saysUnknown && leavesLeases) ? undefined : 'nobody knows this person'
  }
  if (!prompt) return 'nobody was asked'
  if (known.wasComplete) return 'the tokens were there'
  if (isOpen(known.newest)) return 'it is still open'
  const { verdict, consumedAt, received, lost, expiresIn, expiresAt, notices, requests } = prompt
  if (status === 'denied') return verdict === 'deny' ? undefined : 'the person has not denied it'
  if (consumedAt !== undefined) {
    const diedWithThem = received && (received.by as unknown as Mortal).diedAt - received.at < recordingMs
    if (!lost && !diedWithThem) return 'the tokens had come'
    bench.count(`tokens lost: ${lost ?? 'its process has died'}`)
    return saysUnknown ? undefined : 'the tokens were granted, and are lost'
  }
  // Nobody can know that it was not redeemed.
  if (saysUnknown && (leavesLeases || requests.some(({ isLost }) => isLost))) return undefined
  if (status === 'failed') return 'nothing has failed'
  if (status !== 'expired') return 'it has not ended'
  if (mode === 'push') {
    const inTime = notices.filter(
      ({ endedAt }) => endedAt !== undefined && endedAt < expiresAt - lastMomentMs,
    )
    const wasTaken = inTime.some(({ status = 500 }) => status < 300)
    return wasTaken ? 'a push was taken' : undefined
  }
  if (verdict === 'never') return undefined
  // The OP forgets soon: a storm may last longer than that.
  if (expiresIn >= 300) return `the person said ${verdict}`
  bench.count('expired in the storm')
  return undefined
}
