"""Limits the size of a prediction's record. Each transition reads and writes the record, so its size bounds their cost."""

from app.predictions.errors import FieldProblem, InvalidInput
from app.predictions.prediction import Prediction

RECORD_MAX_BYTES = 64 * 1024


def check_record_size(record: bytes, prediction: Prediction) -> None:
    """Refuse a record that is too large. Raises InvalidInput with the longest field of the input."""
    if len(record) <= RECORD_MAX_BYTES:
        return
    longest = max(prediction.input, key=lambda name: len(str(prediction.input[name])))
    message = f"send a shorter one: all fields together may have {RECORD_MAX_BYTES} bytes of UTF-8"
    raise InvalidInput(FieldProblem(field=longest, message=message))
