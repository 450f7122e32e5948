/**
 * The words of the login page, in English unless the app gives others. Knows nothing of markup.
 */

/** The words of the login page. `{time}` and `{code}` are replaced. */
export interface LoginPageTexts {
  /** Above the form. */
  readonly lead: string
  /** The label of the field for the hint. */
  readonly loginHint: string
  /** The label of the field for the user code, which is there with the option `userCodeParameter`. */
  readonly userCode: string
  readonly send: string
  /** On the button while the request is on its way. */
  readonly sending: string
  /** The heading while the person is asked. */
  readonly waiting: string
  readonly waitingText: string
  /** Above the binding message. */
  readonly compare: string
  readonly timeLeft: string
  readonly checkNow: string
  /** Said after a press on that. */
  readonly checking: string
  readonly cancel: string
  /** While the server cannot be reached. */
  readonly offline: string
  readonly complete: string
  readonly completeText: string
  readonly denied: string
  readonly deniedText: string
  readonly expired: string
  readonly expiredText: string
  readonly failed: string
  readonly failedText: string
  readonly cancelled: string
  readonly cancelledText: string
  /** Below the text of an outcome, small: `{code}` is the OP's, or ours. */
  readonly code: string
  readonly tryAgain: string
  /** The same after an expiry. */
  readonly sendAgain: string
  /** For somebody who is signed in already. */
  readonly signedIn: string
  readonly signedInText: string
  readonly continue: string
  readonly signInAgain: string
  /** `{time}` says for how long. */
  readonly tooManyStarts: string
  /** The OP or a store is away: nobody was asked. */
  readonly unavailable: string
  /** The OP failed, or its answer was lost: somebody may have been asked. */
  readonly uncertain: string
  /** A transaction of nobody, or of another browser. */
  readonly unknownTransaction: string
  readonly missingUserCode: string
  readonly invalidUserCode: string
  /** With `unknownUser: 'reveal'`. */
  readonly unknownUser: string
  /** What the form says cannot be sent. */
  readonly invalidRequest: string
  readonly refused: string
}

export const defaultTexts: LoginPageTexts = Object.freeze({
  lead: 'We send a request to your phone. Approve it there, and you are signed in here.',
  loginHint: 'User name',
  userCode: 'User code',
  send: 'Send request to my phone',
  sending: 'Sending…',
  waiting: 'Look at your phone',
  waitingText: 'Approve the request there. This page goes on by itself.',
  compare: 'Approve only if your phone shows this:',
  timeLeft: 'Time left',
  checkNow: 'Check now',
  checking: 'Checking…',
  cancel: 'Cancel',
  offline: 'No connection right now. We keep trying.',
  complete: 'You are signed in',
  completeText: 'One moment…',
  denied: 'Denied',
  deniedText: 'The request was denied on the phone. Nobody was signed in.',
  expired: 'Too late',
  expiredText: 'Nobody answered in time. If your phone still shows the request, ignore it.',
  failed: 'That did not work',
  failedText: 'Nobody was signed in. Please try again.',
  cancelled: 'Cancelled',
  cancelledText: 'If your phone still shows the request, ignore it.',
  code: 'Code: {code}',
  tryAgain: 'Try again',
  sendAgain: 'Send again',
  signedIn: 'You are signed in already',
  signedInText: 'Go on, or sign in again.',
  continue: 'Continue',
  signInAgain: 'Sign in again',
  tooManyStarts: 'Too many requests. Try again in {time}.',
  unavailable: 'Signing in is not possible right now. Try again in a moment.',
  uncertain: 'Something went wrong. If your phone shows a request, ignore it and try again.',
  unknownTransaction: 'This sign-in is over, or belongs to another browser. Start again.',
  missingUserCode: 'Enter your user code.',
  invalidUserCode: 'This user code is not right.',
  unknownUser: 'Nobody is known by this name.',
  invalidRequest: 'This cannot be sent. Check what you have entered.',
  refused: 'The request was refused.',
})

/** The name of a text. */
export type TextName = keyof LoginPageTexts

/** What is said about an error, and at which field. */
export interface NoticeKind {
  readonly text: TextName
  readonly field?: 'loginHint' | 'userCode'
}

/** By error code, else by HTTP status, else `refused`. The page's script has the same table. */
export const noticeKinds: Readonly<Record<string, NoticeKind>> = {
  unknown_transaction: { text: 'unknownTransaction' },
  missing_user_code: { text: 'missingUserCode', field: 'userCode' },
  invalid_user_code: { text: 'invalidUserCode', field: 'userCode' },
  unknown_user_id: { text: 'unknownUser', field: 'loginHint' },
  invalid_request: { text: 'invalidRequest', field: 'loginHint' },
  no_answer: { text: 'uncertain' },
  429: { text: 'tooManyStarts' },
  500: { text: 'uncertain' },
  502: { text: 'uncertain' },
  503: { text: 'unavailable' },
  504: { text: 'uncertain' },
  refused: { text: 'refused' },
}

/** What is said about an error; codes come from the OP, and may be any word: `constructor` too. */
export function noticeKindOf(error: string, status: number): NoticeKind | undefined {
  if (Object.hasOwn(noticeKinds, error)) return noticeKinds[error]
  return Object.hasOwn(noticeKinds, status) ? noticeKinds[status] : undefined
}

/** Replaces `{name}`, wherever it stands. */
export function fill(text: string, values: Readonly<Record<string, string>>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) =>
    Object.hasOwn(values, name) ? (values[name] as string) : whole,
  )
}

/** A time in words of the language: seconds up to a minute and a half, then minutes. */
export function inWords(seconds: number, lang: string): string {
  const isShort = seconds < 90
  const unit = isShort ? 'second' : 'minute'
  const format = new Intl.NumberFormat(lang, { style: 'unit', unit, unitDisplay: 'long' })
  return format.format(isShort ? seconds : Math.ceil(seconds / 60))
}

/** A time as a clock counts it down: 1:07. */
export function onTheClock(seconds: number): string {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}
