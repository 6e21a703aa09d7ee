"""Defines the stages of a prediction and the time of each: what serving costs beside the denoising; pure."""

from dataclasses import dataclass
from datetime import timedelta
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
    TOLD = "told"  # until the record had the end, which tells waiters, event streams and webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """How long a prediction was in a stage."""

    stage: TimelineStage
    duration: timedelta

    @property
    def ms(self) -> int:
        """The milliseconds."""
        return round(self.duration.total_seconds() * 1000)


def timeline_of(prediction: Prediction) -> list[StageTime]:
    """Return the stages that are over, in order; those of a success add up to its whole time.

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
    return [*stages, _stage(TimelineStage.TOLD, prediction.run_time - measured)]


def _stage(stage: TimelineStage, duration: timedelta) -> StageTime:
    return StageTime(stage=stage, duration=max(timedelta(), duration))  # two clocks measured
