const expressCiba = require('express-ciba')

process.stdout.write(JSON.stringify(Object.keys(expressCiba).sort()))
