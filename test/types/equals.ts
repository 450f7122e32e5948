/** For the tests of types. */

/** Exact: tells `any` from everything else, and optional from `| undefined`. */
export type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

export function sure<_Proof extends true>(): void {}

// The helper itself can say no.
// @ts-expect-error: `any` is not `string`.
// biome-ignore lint/suspicious/noExplicitAny: it is what the helper has to tell apart.
sure<Equals<any, string>>()
