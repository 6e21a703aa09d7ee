"""Bad inputs as data: each is one request, with the status it gets and what the error must name."""

from tests.corpus import a1111, bfl, create, fal, images, openai, paths, replicate, uploads

CASES = {
    "create: bodies": create.BODIES,
    "create: fields": [*create.FIELDS, *create.MISSING],
    "run: fields": create.RUNS,
    "create: webhooks": create.WEBHOOKS,
    "create: headers": create.HEADERS,
    "images": images.CASES,
    "Replicate: bodies": replicate.BODIES,
    "Replicate: fields": replicate.FIELDS,
    "Replicate: routes": replicate.ROUTES,
    "Replicate: files": replicate.FILES,
    "OpenAI: bodies": openai.BODIES,
    "OpenAI: fields": openai.FIELDS,
    "OpenAI: forms": [*openai.FORMS, *openai.TYPES, *openai.VARIATIONS],
    "OpenAI: JSON, files, paths": [*openai.JSON_EDITS, *openai.UPLOADS, *openai.PATHS],
    "Stable Diffusion web UI": a1111.CASES,
    "fal": fal.CASES,
    "Black Forest Labs": bfl.CASES,
    "ids": paths.IDS,
    "parameters": paths.PARAMETERS,
    "paths and methods": paths.ROUTES,
    "file URLs": paths.FILES,
    "keys": paths.KEYS,
    "presign": uploads.PRESIGN_CASES,
    "uploads": uploads.UPLOAD_CASES,
}
