/** Something that the machine lacks for an example: said in a sentence, without a stack. Imports nothing. */
export class SetupError extends Error {}
