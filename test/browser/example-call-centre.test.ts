/** The call centre as the agent sees it: three callers at once, each on a card. */
import { expect } from 'chai'
import { ExampleProcess } from '../support/example-process.ts'
import { browsers, enter, type Page, sees, visitors } from './support/browser.ts'
import { look } from './support/look.ts'

describe('npm start call-centre, in a browser', function () {
  this.timeout(60_000)
  const { visit } = visitors(browsers())
  let example: ExampleProcess
  let page: Page

  before(() => {
    example = new ExampleProcess(['call-centre', '--mode', 'ping'])
  })
  after(() => example?.end('SIGKILL'))
  beforeEach(async () => {
    page = (await visit()).page
    await page.goto(await example.app())
    await enter(page, 'agent')
    await example.decide('agent', 'approve')
    await sees(page, 'On the line')
  })

  const card = (name: string) => page.getByRole('listitem').filter({ hasText: name })
  const button = (name: string, label: string) => card(name).getByRole('button', { name: label })

  it('verifies several callers at once, each on a card of their own', async () => {
    expect(await look(page, 'example-call-centre-1-calls')).to.deep.equal([])
    for (const name of ['Alice', 'Bob', 'Carol']) await button(name, 'Verify').click()
    for (const name of ['Alice', 'Bob', 'Carol']) {
      const { bindingMessage } = await example.request(name.toLowerCase())
      await card(name).getByText(String(bindingMessage)).waitFor()
    }
    expect(await look(page, 'example-call-centre-2-asked')).to.deep.equal([])

    await example.decide('bob', 'deny')
    await card('Bob').getByText('Denied on the phone').waitFor()
    await example.decide('alice', 'approve')
    await button('Alice', 'Open the record').click()
    await card('Alice').getByText('Fibre 500').waitFor()
    expect(await button('Carol', 'Cancel').isVisible(), 'Carol still decides').to.equal(true)
    expect(await look(page, 'example-call-centre-3-verified')).to.deep.equal([])

    await button('Alice', 'Close the record').click()
    expect(await button('Alice', 'Verify').isVisible()).to.equal(true)
    expect(await page.content()).to.not.contain('Fibre 500')
    await button('Carol', 'Cancel').click()
    await card('Carol').getByText('Cancelled').waitFor()
    await example.decide('carol', 'deny')
  })

  it('works by keyboard, and calls nobody away from a card', async () => {
    await button('Alice', 'Verify').focus()
    await page.keyboard.press('Enter')
    await button('Alice', 'Cancel').waitFor()
    await button('Bob', 'Verify').focus()
    await example.decide('alice', 'approve')
    await button('Alice', 'Open the record').waitFor()
    expect(await page.evaluate('document.activeElement.closest("li").dataset.customer')).to.equal('bob')
    await page.keyboard.press('Enter')
    await button('Bob', 'Cancel').waitFor()
    expect(await page.evaluate('document.activeElement.dataset.do')).to.equal('cancel')
    await page.keyboard.press('Enter')
    await card('Bob').getByText('Cancelled').waitFor()
  })
})
