"""Remembers the records that this process read or wrote last, so that its next change needs no read. Does no I/O."""

from typing import NamedTuple

from app.predictions.prediction import Prediction

KEPT = 256


class ReadRecord(NamedTuple):
    """A record, and the prediction that it holds."""

    record: bytes
    prediction: Prediction


class LastRecords:
    """The last records of open predictions. Other processes may have changed them, so a writer must compare.

    It keeps the newest KEPT, and none of a prediction that has ended. Any number of threads may use it.
    """

    def __init__(self) -> None:
        self._records: dict[str, ReadRecord] = {}

    def get(self, prediction_id: str) -> ReadRecord | None:
        """Return the last record of a prediction, if there is one."""
        return self._records.get(prediction_id)

    def keep(self, last: ReadRecord) -> None:
        """Keep a record in place of the one before, unless its prediction has ended."""
        prediction = last.prediction
        self._records.pop(prediction.id, None)
        if prediction.status.is_final:
            return
        while len(self._records) >= KEPT:
            self._records.pop(next(iter(self._records), ""), None)
        self._records[prediction.id] = last
