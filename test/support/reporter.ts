/** Mocha's own report, and below it the counts in one plain line for whoever reads the log by machine. */
import mocha from 'mocha'

class PlainTotals extends mocha.reporters.Spec {
  override epilogue(): void {
    super.epilogue()
    const { passes, failures, pending } = this.stats
    const skipped = pending > 0 ? `, ${pending} skipped` : ''
    process.stdout.write(`${passes} passed, ${failures} failed${skipped}\n`)
  }
}

export { PlainTotals as default }
