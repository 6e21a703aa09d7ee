"""Runs the predictions of a request that is answered with their images, and cancels them if the request ends first."""

import shutil
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from app.api.auth import KeyId
from app.api.forms import read_form
from app.api.json_body import TEXT_MAX_BYTES, read_json_with_images
from app.api.state import state_of
from app.dialects.dependencies import (
    ServiceOf,
    body_reservation,
    scratch_folder,
    submit,
    wait_for_end,
)
from app.images.mask import WHITE_IS_REDRAWN, MaskReading
from app.images.scratch import ScratchFolder, SentImage
from app.predictions.errors import AlreadyFinal, KleinError, UnknownPrediction
from app.predictions.prediction import Output, Prediction, Status, Timeouts
from app.predictions.service import Service
from app.predictions.submission import Submission


class NoImage(KleinError):
    """The prediction ended without an image."""

    def __init__(self, prediction: Prediction) -> None:
        failure = prediction.failure
        super().__init__(failure.message if failure else "the prediction was cancelled")
        self.cause = failure.cause if failure else None
        self.is_caller_error = failure is None or failure.cause.is_caller_error


class Run:
    """The predictions of one request. Its client never receives their ids, so nobody else can fetch the results."""

    def __init__(
        self, request: Request, service: Service, key_id: str, folder: ScratchFolder
    ) -> None:
        self.service = service
        self.predictions: list[Prediction] = []
        self._request = request
        self._key_id = key_id
        self._folder = folder
        self._images: dict[str, SentImage] = {}
        self._has_ended = False

    async def read_json(self, *, takes_base64: bool = False) -> dict[str, Any]:
        """Read the JSON body. Names stand in it for images that are data URIs, or bare base64.

        Raises BadBody, BodyTooLarge, ScratchFull or StorageError.
        """
        largest_bytes = state_of(self._request.app).body_max_bytes
        body = await read_json_with_images(
            self._request,
            largest_bytes,
            self._folder,
            body_reservation(self._request),
            takes_base64=takes_base64,
        )
        self._images |= body.images
        return body.content

    @asynccontextmanager
    async def read_form(self) -> AsyncGenerator[FormData]:
        """Read the form in the body. Raises what `app.api.forms.read_form` raises, and ScratchFull."""
        largest_bytes = state_of(self._request.app).body_max_bytes
        async with read_form(
            self._request, largest_bytes, self._folder.reserve, field_max_bytes=TEXT_MAX_BYTES
        ) as form:
            yield form

    async def keep_image(self, upload: UploadFile) -> str:
        """Copy an image of the form, and return its name for the input. Raises ScratchFull or StorageError."""
        name = f"data:image;{len(self._images)}"
        path = await run_in_threadpool(_copy, upload, self._folder)
        self._images[name] = SentImage(path=path, is_uri=False)
        return name

    async def submit(
        self,
        slug: str,
        inputs: Sequence[dict[str, Any]],
        notes: tuple[str, ...] = (),
        mask_reading: MaskReading = WHITE_IS_REDRAWN,
        timeouts: Timeouts | None = None,
    ) -> None:
        """Submit a prediction for each input. Raises what `Service.submit` raises."""
        for model_input in inputs:
            submission = Submission(
                key_id=self._key_id,
                slug=slug,
                input=model_input,
                images=self._images,
                mask_reading=mask_reading,
                notes=notes,
                timeouts=timeouts,
            )
            self.predictions.append(await submit(self._request, self.service, submission))
        self._folder.delete()

    async def wait(self) -> list[Prediction]:
        """Wait until all have succeeded. Raises NoImage, or ClientDisconnect if the client leaves."""
        ended = [
            succeeded(await wait_for_end(self._request, self.service, prediction, None))
            for prediction in self.predictions
        ]
        self._has_ended = True
        return ended

    async def read_files(
        self, ended: Sequence[Prediction]
    ) -> list[tuple[Prediction, Output, bytes]]:
        """Read the image files of predictions. Raises FileMissing or StorageError."""
        return await run_in_threadpool(
            lambda: [
                (prediction, output, self.service.read_output(output))
                for prediction in ended
                for output in prediction.outputs
            ]
        )

    async def end(self) -> None:
        """Cancel the predictions that have not ended, also while the request is being cancelled."""
        if self._has_ended:
            return
        with anyio.CancelScope(shield=True):
            for prediction in self.predictions:
                with suppress(AlreadyFinal, UnknownPrediction):
                    await run_in_threadpool(self.service.cancel, self._key_id, prediction.id)


def _copy(upload: UploadFile, folder: ScratchFolder) -> Path:
    with folder.create() as file:
        shutil.copyfileobj(upload.file, file)
        return file.path


def succeeded(prediction: Prediction) -> Prediction:
    """Return a prediction that has images. Raises NoImage."""
    if prediction.status is not Status.SUCCEEDED:
        raise NoImage(prediction)
    return prediction


async def _run(request: Request, service: ServiceOf, key_id: KeyId) -> AsyncGenerator[Run]:
    with service.wait_slot(key_id), scratch_folder(request, key_id) as folder:
        run = Run(request, service, key_id, folder)
        try:
            yield run
        finally:
            await run.end()


RunOf = Annotated[Run, Depends(_run)]
"""The run of a request, which holds one of the key's places for waiters until the response is sent."""
