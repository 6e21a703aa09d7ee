"""Defines the stages of a prediction and the time of each: what serving costs beside the denoising. Does no I/O."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from app.predictions.prediction import Prediction


class TimelineStage(StrEnum):
    """The stages of a prediction, in order."""

    QUEUED = (
        "queued"  # until its last attempt was claimed, and the engine started if it was not loaded
    )
    CLAIMED = "claimed"  # until the engine began: input images and LoRAs are read, the batch before it ends
    ENCODED = "encoded"  # prompt and reference images
    DENOISED = "denoised"
    DECODED = "decoded"  # and brought to the worker
    WRITTEN = "written"  # as image files, with the wait for the files before them
    STORED = "stored"
    TOLD = "told"  # until the record had the end, which tells waiters and event streams, and a webhook was acknowledged


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """How long a prediction was in a stage."""

    stage: TimelineStage
    duration: timedelta

    @property
    def ms(self) -> int:
        """The milliseconds."""
        return round(self.duration.total_seconds() * 1000)


def timeline_of(prediction: Prediction, acknowledged_at: datetime | None = None) -> list[StageTime]:
    """Return the stages that are over, in order. Those of a success add up to `whole_time`.

    `acknowledged_at` is when the receiver acknowledged its webhook, if that is known.
    A prediction that has not ended, or that ended without images, has only the stages that are known.
    """
    claimed_at = prediction.started_at or prediction.finished_at
    if claimed_at is None:
        return []
    stages = [_stage(TimelineStage.QUEUED, claimed_at - prediction.created_at)]
    timings = prediction.timings
    if timings is None:
        return stages
    for stage, ms in (
        (TimelineStage.CLAIMED, timings.claimed_ms),
        (TimelineStage.ENCODED, timings.encoded_ms),
        (TimelineStage.DENOISED, timings.denoised_ms),
        (TimelineStage.DECODED, timings.decoded_ms),
        (TimelineStage.WRITTEN, timings.written_ms),
        (TimelineStage.STORED, timings.stored_ms),
    ):
        stages.append(_stage(stage, timedelta(milliseconds=ms)))
    measured = sum((stage.duration for stage in stages[1:]), timedelta())
    until_end = max(timedelta(), prediction.run_time - measured)
    acknowledged = until_end + _acknowledgement(prediction, acknowledged_at)
    return [*stages, _stage(TimelineStage.TOLD, acknowledged)]


def whole_time(prediction: Prediction, acknowledged_at: datetime | None = None) -> timedelta | None:
    """Return the time from the create to the end, and to the acknowledgement of its webhook. None before the end."""
    if prediction.finished_at is None:
        return None
    until_end = prediction.finished_at - prediction.created_at
    return until_end + _acknowledgement(prediction, acknowledged_at)


def _acknowledgement(prediction: Prediction, acknowledged_at: datetime | None) -> timedelta:
    """Return the time from the end to the acknowledgement. Another clock than Redis's measured the latter."""
    if acknowledged_at is None or prediction.finished_at is None:
        return timedelta()
    return max(timedelta(), acknowledged_at - prediction.finished_at)


def _stage(stage: TimelineStage, duration: timedelta) -> StageTime:
    return StageTime(stage=stage, duration=max(timedelta(), duration))  # two clocks measured
