/**
 * One whole login: what it costs in the process of the app, from the start to the first page that knows the person. Against
 * the same app written by hand on openid-client, and against the bare protocol.
 */
import { type BenchEnv, type Benchmark, type Figure, median, ratios, type Subject } from './harness.ts'
import { interval, logIn } from './login-load.ts'
import { acrValues, type LoginConfig } from './login-terms.ts'
import { clientID, type OpConfig, startOp } from './op.ts'

type Mode = LoginConfig['mode']

/** One of those that are compared. */
interface Side {
  readonly subject: Subject
  logIn(count: number): Promise<void>
}

export const opOfLogins: OpConfig = { interval, expiresIn: 300, claims: { acr: acrValues[0] } }

export const benchmark: Benchmark = {
  name: 'login',
  run: async (env) => [...(await compare(env, 'poll')), ...(await compare(env, 'ping'))],
}

async function compare(env: BenchEnv, mode: Mode): Promise<Figure[]> {
  const op = await startOp(env, opOfLogins)
  const app = async (name: string, config: Partial<LoginConfig> = {}): Promise<Side> => {
    const subject = await env.spawn(name, { issuer: op.origin, mode, ...config } satisfies LoginConfig)
    return { subject, logIn: (count) => logIn(subject, op, count, mode) }
  }
  const sides = {
    ours: await app('login-ours'),
    openidClient: await app('login-openid-client'),
    onRequest: await app('login-openid-client', { transport: 'request' }),
    bare: await bare(env, op),
  }
  const cost = await costs(env, sides)
  for (const { subject } of [...Object.values(sides), { subject: op }]) await subject.stop()

  const { ours, openidClient, onRequest } = cost
  const detail = (theirs: readonly number[]) => `${ms(ours)} to ${ms(theirs)} of CPU`
  return [
    {
      name: `login, ${mode} mode, of openid-client by hand`,
      goal: { atMost: 0.6 },
      rounds: ratios(ours, openidClient),
      detail: detail(openidClient),
    },
    {
      name: `login, ${mode} mode, of openid-client by hand, on undici's request()`,
      rounds: ratios(ours, onRequest),
      detail: detail(onRequest),
    },
    {
      name: `login, ${mode} mode, of bare oauth4webapi without Express`,
      // The bare protocol takes no pings.
      ...(mode === 'poll' && { goal: { atMost: 2.5 } }),
      rounds: ratios(ours, cost.bare),
      detail: detail(cost.bare),
    },
  ]
}

async function bare(env: BenchEnv, op: Subject): Promise<Side> {
  const subject = await env.spawn('login-oauth4webapi', { issuer: op.origin, mode: 'poll' })
  const hints = (count: number) => Array.from({ length: count }, (_, index) => `${clientID}-${index}`)
  return { subject, logIn: (count) => subject.ask('logIn', hints(count)) }
}

/** Milliseconds of CPU per login, round by round; who is first goes round. */
export async function costs<Name extends string>(
  { quick, rounds }: BenchEnv,
  sides: Readonly<Record<Name, Side>>,
): Promise<Record<Name, number[]>> {
  const count = quick ? 100 : 400
  const names = Object.keys(sides) as Name[]
  const cost = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>
  // The compiler needs thousands of logins before it settles.
  for (const name of names) await sides[name].logIn(quick ? 200 : 2_500)
  for (let round = 0; round < rounds; round++) {
    for (let place = 0; place < names.length; place++) {
      const name = names[(round + place) % names.length] as Name
      const { subject, logIn: run } = sides[name]
      await subject.cpu()
      await run(count)
      cost[name].push((await subject.cpu()) / 1000 / count)
    }
  }
  return cost
}

export function ms(values: readonly number[]): string {
  return `${median(values).toFixed(2)} ms`
}
