/**
 * An agent that tidies up a folder: it may delete files only when their owner says so, on the phone. It has no browser and
 * no address, and may be killed at any time: `tsx agent.ts FOLDER` goes on where it was.
 *
 * Environment: ISSUER_BASE_URL, CLIENT_ID, CLIENT_SECRET, SECRET (the same in every run) and OWNER.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { type AuthorizationDetail, type CibaClient, CibaError, createCibaClient } from '../../lib/index.ts'
import { FileTransactionStore } from './file-store.ts'

/** What was asked for, and the handle to wait with. Whoever has it gets the tokens: it is secret. */
interface Job {
  readonly transaction: string
  readonly files: readonly string[]
}

const [folder = '.'] = process.argv.slice(2)
const work = join(folder, '.agent')
const owner = process.env['OWNER'] ?? 'alice'

await mkdir(work, { recursive: true, mode: 0o700 })

const client = createCibaClient({
  store: new FileTransactionStore(join(work, 'transactions')),
  allowInsecureRequests: true, // the OP of this example speaks http; a real one speaks https
})

try {
  const job = (await unfinishedJob()) ?? (await newJob(client))
  if (job) await carryOut(job, client)
  else console.log('Nothing to delete.')
} finally {
  await client.close()
}

async function newJob({ start }: CibaClient): Promise<Job | undefined> {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.old')).sort()
  if (files.length === 0) return undefined
  const { transaction } = await start({
    loginHint: owner,
    expectedSubject: owner, // nobody else can say yes
    bindingMessage: `Delete ${files.length} files?`,
    authorizationDetails: [detailOf(files)],
  })
  // Killed before this line, it asks a second time; after it, never.
  const draft = join(work, 'job.draft')
  await writeFile(draft, JSON.stringify({ transaction, files }), { mode: 0o600 })
  await rename(draft, join(work, 'job.json'))
  console.log(`I want to delete ${files.join(', ')} and have asked ${owner}. My handle is in ${work}.`)
  return { transaction, files }
}

async function unfinishedJob(): Promise<Job | undefined> {
  const text = await readFile(join(work, 'job.json'), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  console.log('I found the handle of a job that is not finished, and go on with it.')
  return JSON.parse(text) as Job
}

async function carryOut({ transaction, files }: Job, { wait }: CibaClient): Promise<void> {
  const outcome = await wait(transaction).catch((error: unknown) => {
    const isForgotten = error instanceof CibaError && error.code === 'ERR_CIBA_UNKNOWN_TRANSACTION'
    if (isForgotten) return { status: 'expired' } as const
    throw error
  })
  if (outcome.status !== 'complete')
    console.log(`${owner} has not approved: ${outcome.status}. I delete nothing.`)
  else if (!isDeepStrictEqual(outcome.tokens.authorizationDetails, [detailOf(files)]))
    console.log('Something else was granted. I delete nothing.')
  else {
    // Done twice it does the same, should it be killed in the middle.
    for (const name of files) await rm(join(folder, name), { force: true })
    console.log(`${outcome.user.sub} has approved. I have deleted ${files.join(', ')}.`)
  }
  await rm(join(work, 'job.json'))
}

/** What the owner is shown, and what has to be granted. */
function detailOf(files: readonly string[]): AuthorizationDetail {
  return { type: 'file_deletion', files }
}
