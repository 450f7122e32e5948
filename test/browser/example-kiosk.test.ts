/** The kiosk as people stand before it: what stays on the screen when they have gone. */
import { expect } from 'chai'
import { ExampleProcess } from '../support/example-process.ts'
import { browsers, type Page, sees, visitors } from './support/browser.ts'
import { look } from './support/look.ts'

describe('npm start kiosk, in a browser', function () {
  this.timeout(60_000)
  const { visit } = visitors(browsers())
  let example: ExampleProcess
  let page: Page

  before(() => {
    example = new ExampleProcess(['kiosk', '--mode', 'ping'], { IDLE_SECONDS: '5' })
  })
  after(() => example?.end('SIGKILL'))
  beforeEach(async () => {
    page = (await visit()).page
    await page.goto(await example.app())
  })

  async function collect(member: string): Promise<void> {
    await page.getByLabel('Your member name').fill(member)
    await page.getByRole('button', { name: 'Ask my phone' }).click()
    const { bindingMessage } = await example.request(member)
    await page.getByText(String(bindingMessage)).waitFor()
  }

  it('shows a code, then the tickets, and nothing once they are done', async () => {
    expect(await look(page, 'example-kiosk-1-welcome')).to.deep.equal([])
    await collect('alice')
    expect(await look(page, 'example-kiosk-2-code')).to.deep.equal([])
    await example.decide('alice', 'approve')
    await sees(page, 'Your tickets, alice')
    await page.getByRole('button', { name: 'Done' }).click()
    await sees(page, 'Collect your tickets')
    await page.goBack()
    await sees(page, 'Collect your tickets')
    expect(await page.content()).to.not.contain('alice</h1>')
  })

  it('signs out by itself, but not while somebody touches the screen', async () => {
    await collect('bob')
    await example.decide('bob', 'approve')
    await sees(page, 'Your tickets, bob')
    expect(await look(page, 'example-kiosk-3-tickets')).to.deep.equal([])
    await page.getByText('Still there?').waitFor()
    await page.mouse.move(100 + Math.random() * 100, 100)
    await page.getByText('Still there?').waitFor({ state: 'detached' })
    const touched = page.waitForResponse(/touch/)
    await page.mouse.click(10, 10)
    expect((await touched).status()).to.equal(204)
    await sees(page, 'Collect your tickets')
  })

  it('says what became of a denial, and starts over', async () => {
    await collect('alice')
    await example.decide('alice', 'deny')
    await sees(page, 'Denied on the phone')
    expect(await look(page, 'example-kiosk-4-denied')).to.deep.equal([])
    await page.getByRole('button', { name: 'Start over' }).click()
    await sees(page, 'Collect your tickets')
  })
})
