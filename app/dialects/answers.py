"""In whose words an error is answered: those of the dialect whose request it is."""

import re

from app.api.errors import Dialect
from app.dialects.eachlabs import errors as eachlabs
from app.dialects.openai import routes as openai
from app.dialects.replicate import routes as replicate

ANSWERS: tuple[tuple[re.Pattern[str], Dialect], ...] = (
    (replicate.REQUESTS, replicate.answer),
    (openai.REQUESTS, openai.answer),
)


def answer_at(method: str, path: str) -> Dialect:
    """Choose the dialect of a request; what is nobody else's is the hosted API's."""
    line = f"{method} {path}"
    return next((answer for asked, answer in ANSWERS if asked.match(line)), eachlabs.answer)
