// The Redis store where redis is not installed: it works with the commands of any client.
import { RedisTransactionStore } from 'express-ciba/redis'

const sent = []
const store = new RedisTransactionStore({
  sendCommand: async ([command]) => {
    sent.push(command)
    if (command === 'EVALSHA') throw new Error('NOSCRIPT No matching script. Please use EVAL.')
    return command === 'EVAL' ? 1 : null
  },
  subscribe: async () => () => {},
})
const written = await store.write({ id: 'id', version: 1, purgeAt: Date.now() + 1_000, data: 'sealed' }, 0)
const found = (await store.read('id')) ?? 'nothing'
await store.close()

const isInstalled = await import('redis').then(
  () => true,
  () => false,
)
process.stdout.write(JSON.stringify({ sent, written, found, isInstalled }))
