"""Remembers the estimates for the predictions that this process accepted, and measures their error."""

from collections import OrderedDict
from collections.abc import Callable

from app.metrics import ESTIMATE_ERROR
from app.predictions.errors import KleinError, Unavailable
from app.predictions.place import Place
from app.predictions.prediction import Prediction, Status
from app.predictions.record_reader import decode

MAX_FORECASTS = 10_000  # predictions


class Forecasts:
    """The estimates of unfinished predictions. Any number of threads may use it."""

    def __init__(self, place_behind: Callable[[int, Prediction, int], Place]) -> None:
        self._place_behind = place_behind
        self._forecasts: OrderedDict[str, Place] = OrderedDict()

    def remember(self, prediction: Prediction, ahead: int, running: int) -> None:
        """Estimate when a prediction starts and ends that was just accepted behind `ahead` others, while some run."""
        try:
            self._forecasts[prediction.id] = self._place_behind(ahead, prediction, running)
        except Unavailable:
            return  # it is accepted all the same
        while len(self._forecasts) > MAX_FORECASTS:
            self._forecasts.popitem(last=False)

    def get(self, prediction_id: str) -> Place | None:
        """Return the estimate of a prediction that this process accepted."""
        return self._forecasts.get(prediction_id)

    def end(self, prediction_id: str, record: bytes) -> None:
        """Compare the estimate of a prediction with its final record."""
        place = self._forecasts.pop(prediction_id, None)
        if place is None or place.expected_end is None:
            return
        try:
            ended = decode(record, prediction_id)
        except KleinError:
            return
        if ended.status is Status.SUCCEEDED and ended.finished_at is not None:
            took = ended.finished_at - ended.created_at
            ESTIMATE_ERROR.observe(abs(place.expected_end - took) / took if took else 0.0)
