"""In whose words an error is answered: those of the dialect whose path it is."""

import re

from app.api.errors import Dialect
from app.dialects.eachlabs import errors as eachlabs
from app.dialects.openai import routes as openai
from app.dialects.replicate import routes as replicate

ANSWERS: tuple[tuple[re.Pattern[str], Dialect], ...] = (
    (replicate.PATHS, replicate.answer),
    (openai.PATHS, openai.answer),
)


def answer_at(path: str) -> Dialect:
    """Choose the dialect of a path; what is nobody else's is the hosted API's."""
    return next((answer for paths, answer in ANSWERS if paths.match(path)), eachlabs.answer)
