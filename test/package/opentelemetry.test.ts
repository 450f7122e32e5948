/** The README's OpenTelemetry snippet, run as printed with the real API: what it exports after real logins. */
import diagnosticsChannel, { type ChannelListener } from 'node:diagnostics_channel'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { metrics } from '@opentelemetry/api'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { expect } from 'chai'
import type { Response } from 'supertest'
import { tokenError } from '../support/scripted-op.ts'
import { until, webs } from '../support/web.ts'

const root = new URL('../../', import.meta.url)

/** The ts block that imports the API of OpenTelemetry. */
function snippet(): string {
  const readme = readFileSync(new URL('README.md', root), 'utf8')
  const blocks = [...readme.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code = '']) => code)
  const [code, ...more] = blocks.filter((block) => block.includes("'@opentelemetry/api'"))
  if (code === undefined || more.length > 0) throw new Error('the README must have one such block')
  return code
}

interface Point {
  readonly attributes: Readonly<Record<string, unknown>>
  /** Of a counter: how many. Of a histogram: in seconds. */
  readonly value: number
  /** Of a histogram. */
  readonly count: number | undefined
}

describe("README.md's OpenTelemetry snippet", function () {
  this.timeout(20_000)

  const start = webs()
  // Below node_modules, so that it finds the API where a user would have it.
  const folder = new URL('node_modules/.cache/express-ciba-opentelemetry/', root)
  const listeners: [name: string | symbol, listener: ChannelListener][] = []
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 60_000 })
  const provider = new MeterProvider({ readers: [reader] })

  before(async () => {
    metrics.setGlobalMeterProvider(provider)
    mkdirSync(folder, { recursive: true })
    const file = new URL('snippet.ts', folder)
    writeFileSync(file, snippet())
    const { subscribe } = diagnosticsChannel
    diagnosticsChannel.subscribe = (name, listener) => {
      listeners.push([name, listener])
      subscribe(name, listener)
    }
    syncBuiltinESMExports()
    try {
      await import(file.href)
    } finally {
      diagnosticsChannel.subscribe = subscribe
      syncBuiltinESMExports()
    }
  })

  after(async () => {
    // Other tests see whether anybody listens.
    for (const [name, listener] of listeners) diagnosticsChannel.unsubscribe(name, listener)
    await provider.shutdown()
    metrics.disable()
    rmSync(folder, { recursive: true, force: true })
  })

  async function exported(): Promise<Map<string, Point[]>> {
    exporter.reset()
    await provider.forceFlush()
    const scopes = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics)
    return new Map(
      scopes.flatMap((scope) =>
        scope.metrics.map(({ descriptor, dataPoints }): [string, Point[]] => [
          descriptor.name,
          dataPoints.map(({ attributes, value }) =>
            typeof value === 'number'
              ? { attributes, value, count: undefined }
              : {
                  attributes,
                  value: ('sum' in value && value.sum) || 0,
                  count: 'count' in value ? value.count : undefined,
                },
          ),
        ]),
      ),
    )
  }

  it('counts and times what happened, under few labels that name nobody', async () => {
    const web = await start()
    const { op, origin } = web
    const people = ['alice', 'bob', 'carol'].map((name) => ({ name, browser: web.browser() }))
    for (const { name, browser } of people) {
      const transaction = await browser.begin(name)
      await web.approve({ claims: { sub: name } })
      expect((await browser.poll(transaction, 5)).body).to.have.property('status', 'complete')
    }
    const [alice] = people
    const denied = await alice!.browser.begin('alice')
    await web.deny()
    expect((await alice!.browser.poll(denied, 5)).body).to.have.property('status', 'denied')
    await op.ping(`${origin}/ciba/notification`, { token: 'forged.token' })
    op.onBackchannel(tokenError('invalid_binding_message'))
    const refused: Response = await alice!.browser.post('/ciba/start', { loginHint: 'alice' })
    expect(refused.status).to.equal(400)
    await alice!.browser.post('/ciba/logout')

    let found = await exported()
    const counted = (metric: string) =>
      Object.fromEntries(
        (found.get(metric) ?? []).map(({ attributes, value }) => [
          Object.values(attributes).join(' '),
          value,
        ]),
      )
    await until('the last login is counted', async () => {
      found = await exported()
      return counted('ciba.login')['signedIn'] === people.length
    })
    expect(counted('ciba.transaction')).to.deep.equal({
      'started login': 4,
      'complete login': 3,
      'denied login': 1,
      'notStarted login': 1,
    })
    expect(counted('ciba.token_request')).to.deep.equal({ granted: 3, denied: 1 })
    expect(counted('ciba.notification')).to.deep.equal({
      'ping accepted true': 4,
      'ping unauthorized false': 1,
    })
    expect(counted('ciba.login')).to.deep.equal({ signedIn: 3, signedOut: 1 })
    const times = found.get('ciba.transaction.duration') ?? []
    const completed = times.find(({ attributes }) => attributes['event'] === 'complete')
    expect(completed?.count).to.equal(3)
    expect(completed?.value, 'seconds').to.be.within(0.001, 10)
    const labels = JSON.stringify([...found.values()].flat().map(({ attributes }) => attributes))
    for (const { name } of people) expect(labels).not.to.include(name)
    expect(found.has('ciba.approval'), 'nobody asked for one').to.equal(false)
  })
})
