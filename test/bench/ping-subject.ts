/**
 * The two sides of the ping benchmark. The bare one: Express, its JSON parser, and a check of the bearer token against the one
 * that belongs to the `auth_req_id`, in constant time; it remembers nothing and starts nothing. Ours checks the token,
 * records the ping, and asks for the tokens afterwards. The OP is in this process: a function.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto'
import express, { type Express, type RequestHandler } from 'express'
import { ciba, createCibaClient } from '../../lib/index.ts'
import { inParallel } from './in-parallel.ts'
import { LocalOp, localOpOptions } from './local-op.ts'
import { ParkingStore } from './parking-store.ts'
import { type Ping, type PingConfig, path } from './ping-terms.ts'
import { listen, runSubject, type Served } from './subject.ts'
import { watchedSessions } from './watched-sessions.ts'

await runSubject(async (config: PingConfig) => {
  const app = express()
  if (config.hasSession) app.use(watchedSessions(undefined).middleware)
  const answers = config.side === 'ours' ? mountOurs(app, config) : mountBare(app)
  const { origin } = await listen(app)
  return { origin, answers }
})

function mountOurs(app: Express, { hasSession, work }: PingConfig): NonNullable<Served['answers']> {
  const parking = new ParkingStore(work === 'ping')
  const { store } = parking
  const op = new LocalOp()
  const client = createCibaClient({ ...localOpOptions(op), deliveryMode: 'ping', store })
  const auth = ciba({ client })
  // With sessions as most apps mount it, without them as the README recommends for this route.
  if (hasSession) app.use(auth)
  else app.post(path, auth.notification)
  return {
    async arm(count: number): Promise<Ping[]> {
      await inParallel(Array(count).keys(), 64, (number) => client.start({ loginHint: `person-${number}` }))
      parking.arm()
      return op.issued.splice(0)
    },
    clear() {
      parking.clear()
      op.letGo()
    },
    accesses: () => parking.accesses,
    asked: () => op.asked,
  }
}

function mountBare(app: Express): NonNullable<Served['answers']> {
  const tokens = new Map<string, string>()
  const bearerCheck: RequestHandler = (req, res, next) => {
    const [scheme, given = ''] = (req.headers.authorization ?? '').split(' ')
    const expected = tokens.get(req.body.auth_req_id)
    const isGenuine =
      scheme === 'Bearer' &&
      expected !== undefined &&
      expected.length === given.length &&
      timingSafeEqual(Buffer.from(expected), Buffer.from(given))
    if (isGenuine) next()
    else res.status(401).set('WWW-Authenticate', 'Bearer').end()
  }
  app.post(path, express.json(), bearerCheck, (_req, res) => {
    res.status(204).end()
  })
  return {
    arm(count: number): Ping[] {
      const random = (bytes: number) => randomBytes(bytes).toString('base64url')
      const pings = Array.from({ length: count }, () => ({
        authReqId: random(16),
        notificationToken: `${random(16)}.${random(32)}`,
      }))
      for (const { authReqId, notificationToken } of pings) tokens.set(authReqId, notificationToken)
      return pings
    },
    clear() {
      tokens.clear()
    },
  }
}
