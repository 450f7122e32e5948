/** The bank as its customer sees it: what is approved is what is paid. */
import { expect } from 'chai'
import { ExampleProcess } from '../support/example-process.ts'
import { browsers, enter, type Page, sees, visitors } from './support/browser.ts'
import { look } from './support/look.ts'

describe('npm start payment, in a browser', function () {
  this.timeout(60_000)
  const { visit, expectComplaints } = visitors(browsers())
  let example: ExampleProcess
  let page: Page
  let tab: () => Promise<Page>

  before(() => {
    example = new ExampleProcess(['payment', '--mode', 'ping'])
  })
  after(() => example?.end('SIGKILL'))
  beforeEach(async () => {
    ;({ page, tab } = await visit())
    await page.goto(await example.app())
    await enter(page)
    await example.decide('alice', 'approve')
    await sees(page, 'Pay somebody')
  })

  const button = (name: string) => page.getByRole('button', { name, exact: true })

  async function order(to: string, amount: string): Promise<void> {
    await page.getByLabel('To', { exact: true }).fill(to)
    await page.getByLabel('Amount in EUR').fill(amount)
  }

  it('asks once and pays once, although the button was clicked twice', async () => {
    await order('Green Grocers', '25')
    expect(await look(page, 'example-payment-1-form')).to.deep.equal([])
    await button('Pay').dblclick()
    const { bindingMessage } = await example.request('alice')
    await page.getByText(String(bindingMessage)).waitFor()
    expect(await page.locator('#asked').textContent()).to.equal('25.00 EUR to Green Grocers')
    expect(await look(page, 'example-payment-2-asked')).to.deep.equal([])
    const phone = await tab()
    await phone.goto(await example.phone())
    expect(await phone.locator('[data-request]').count()).to.equal(1)
    expect(await phone.textContent('main'))
      .to.contain('25.00 EUR')
      .and.contain('Green Grocers')
    await phone.getByRole('button', { name: 'Approve' }).click()
    await sees(page, 'Paid')
    await page.getByText('your phone has granted').waitFor()
    expect(await page.locator('#paid li').allTextContents()).to.deep.equal(['25.00 EUR to Green Grocers'])
    expect(await look(page, 'example-payment-3-paid')).to.deep.equal([])
    await page.reload()
    expect(await page.locator('#paid li').count()).to.equal(1)
  })

  it('is refused when the amount changes between approval and use', async () => {
    expectComplaints(/403/)
    await order('Mallory', '10.00')
    await page.getByText('Try to cheat').click()
    await page.getByLabel('ten times as much').check()
    await button('Pay').click()
    await example.decide('alice', 'approve')
    await sees(page, 'Refused')
    expect(await look(page, 'example-payment-4-refused')).to.deep.equal([])
    expect(await page.locator('#paid').textContent()).to.not.contain('Mallory')
  })

  it('shows a payee as text, and says what is wrong with an amount', async () => {
    expectComplaints(/400/)
    await order('<img src=x>', '10.00')
    await button('Pay').click()
    await page.getByText('Name a payee.').waitFor()
    await order('Green Grocers', '1e9')
    await button('Pay').click()
    await page.getByText('The amount must be').waitFor()
    expect(await page.locator('img').count()).to.equal(0)
  })
})
