"""Bad inputs as data: each is one request, with the status it gets and what the error must name."""

from tests.corpus import create, openai, paths, pictures, replicate, uploads

CASES = {
    "create: bodies": create.BODIES,
    "create: fields": [*create.FIELDS, *create.MISSING],
    "run: fields": create.RUNS,
    "create: webhooks": create.WEBHOOKS,
    "create: headers": create.HEADERS,
    "pictures": pictures.CASES,
    "Replicate: bodies": replicate.BODIES,
    "Replicate: fields": replicate.FIELDS,
    "Replicate: routes": replicate.ROUTES,
    "Replicate: files": replicate.FILES,
    "OpenAI: bodies": openai.BODIES,
    "OpenAI: fields": openai.FIELDS,
    "OpenAI: forms": [*openai.FORMS, *openai.TYPES],
    "ids": paths.IDS,
    "parameters": paths.PARAMETERS,
    "paths and methods": paths.ROUTES,
    "file URLs": paths.FILES,
    "keys": paths.KEYS,
    "presign": uploads.ASKED,
    "uploads": uploads.SENT,
}
