/** `npm start agent`: a process without a browser that is killed and goes on. */
import { access } from 'node:fs/promises'
import { dirname } from 'node:path'
import { expect } from 'chai'
import { ExampleProcess } from '../support/example-process.ts'

const isThere = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  )

describe('npm start agent', function () {
  this.timeout(60_000)
  let example: ExampleProcess

  beforeEach(() => {
    example = new ExampleProcess(['agent'])
  })
  // With SIGTERM: the agent itself shall end too.
  afterEach(() => example.end('SIGTERM'))

  /** Resolves with the agent's process and the folder that it tidies up. */
  async function asked(): Promise<{ pid: number; folder: string }> {
    const [, pid, work] = await example.printed(/agent (\d+): I want to delete .* My handle is in (\S+)\./)
    return { pid: Number(pid), folder: dirname(String(work)) }
  }

  it('says what it wants to do, waits for its owner, does it and ends', async () => {
    const { folder } = await asked()
    const { authorizationDetails, bindingMessage } = await example.decide('alice', 'approve')
    expect(bindingMessage).to.equal('Delete 3 files?')
    const files = ['letters.old', 'photos.old', 'taxes-2009.old']
    expect(authorizationDetails).to.deep.equal([{ type: 'file_deletion', files }])
    await example.printed(/alice has approved\. I have deleted letters\.old, photos\.old, taxes-2009\.old/)
    await new Promise((resolve) => example.process.once('close', resolve))
    expect(example.process.exitCode).to.equal(0)
    expect(await isThere(folder), 'cleaned up').to.equal(false)
  })

  it('goes on with its handle after a kill, with one request on the phone and one only', async () => {
    const { pid } = await asked()
    const { authReqId } = await example.request('alice')
    process.kill(pid, 'SIGKILL')
    const [, successor] = await example.printed(/agent (\d+): I found the handle/)
    expect(Number(successor)).to.not.equal(pid)
    expect((await example.decide('alice', 'approve')).authReqId).to.equal(authReqId)
    await example.printed(/alice has approved/)
  })

  it('is killed by Enter, again and again', async () => {
    await asked()
    for (const time of [1, 2]) {
      example.process.stdin?.write('\n')
      await example.printed(new RegExp(`(I found the handle[^]*){${time}}`))
    }
    await example.decide('alice', 'approve')
    await example.printed(/alice has approved/)
  })

  it('deletes nothing after a denial, also when it was killed while its owner decided', async () => {
    const { pid } = await asked()
    process.kill(pid, 'SIGKILL')
    await example.decide('alice', 'deny')
    await example.printed(/alice has not approved: denied\. I delete nothing\./)
    expect(example.output).to.not.contain('I have deleted')
  })
})
