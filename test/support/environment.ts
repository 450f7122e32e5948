/** Environment variables that end with the test that set them. Never replaces `process.env` itself: Node watches it. */
export function environment(): (variables: Readonly<Record<string, string>>) => void {
  const before = new Map<string, string | undefined>()
  afterEach(() => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
    before.clear()
  })
  return (variables) => {
    for (const name of Object.keys(variables)) {
      if (!before.has(name)) before.set(name, process.env[name])
    }
    Object.assign(process.env, variables)
  }
}
