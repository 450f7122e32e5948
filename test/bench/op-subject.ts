/** The process of the OP. */
import { type OpConfig, serveOp } from './op.ts'
import { runSubject } from './subject.ts'

await runSubject<OpConfig>(serveOp)
