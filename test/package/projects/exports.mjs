import * as expressCiba from 'express-ciba'

process.stdout.write(JSON.stringify(Object.keys(expressCiba).sort()))
