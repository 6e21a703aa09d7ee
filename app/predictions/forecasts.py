"""Estimates the end of the predictions that this process accepts, and measures the error."""

from collections import OrderedDict
from collections.abc import Callable

from anyio import to_thread

from app.metrics import ESTIMATE_ERROR
from app.predictions.backlog import Backlog
from app.predictions.errors import KleinError, Unavailable
from app.predictions.place import Place
from app.predictions.prediction import Prediction, Status

MAX_FORECASTS = 10_000  # predictions


class Forecasts:
    """The estimates of unfinished predictions. Any number of threads may use it."""

    def __init__(
        self,
        place_behind: Callable[[int, Prediction], Place],
        backlog: Backlog,
        is_fresh_for: Callable[[Prediction], bool] = lambda _prediction: False,
    ) -> None:
        """`is_fresh_for` says whether `place_behind` returns at once."""
        self._place_behind = place_behind
        self._backlog = backlog
        self._is_fresh_for = is_fresh_for
        self._forecasts: OrderedDict[str, Place] = OrderedDict()

    def remember(self, prediction: Prediction, ahead: int) -> None:
        """Estimate when a prediction starts and ends that was just accepted behind `ahead` others."""
        try:
            self._forecasts[prediction.id] = self._place_behind(ahead, prediction)
            self._backlog.accept(prediction)
        except Unavailable:
            return  # it is accepted all the same
        while len(self._forecasts) > MAX_FORECASTS:
            self._forecasts.popitem(last=False)

    async def remember_soon(self, prediction: Prediction, ahead: int) -> None:
        """Do as `remember` does, in a thread if it must read from Redis first."""
        if self._is_fresh_for(prediction):
            self.remember(prediction, ahead)
        else:
            await to_thread.run_sync(self.remember, prediction, ahead)

    def get(self, prediction_id: str) -> Place | None:
        """Return the estimate of a prediction that this process accepted."""
        return self._forecasts.get(prediction_id)

    def end(self, prediction_id: str, read_end: Callable[[], Prediction]) -> None:
        """Note the end of a prediction, and compare its estimate with its final record, read by `read_end`."""
        self._backlog.end(prediction_id)
        place = self._forecasts.pop(prediction_id, None)
        if place is None or place.expected_end is None:
            return
        try:
            ended = read_end()
        except KleinError:
            return
        if ended.status is Status.SUCCEEDED and ended.finished_at is not None:
            took = ended.finished_at - ended.created_at
            ESTIMATE_ERROR.observe(abs(place.expected_end - took) / took if took else 0.0)
