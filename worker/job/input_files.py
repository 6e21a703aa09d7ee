"""Reads the files that a prediction needs: its reference images, its mask and its fetched LoRAs."""

from app.predictions.catalog import parameters_of
from app.predictions.failure import Cause, Failure
from app.predictions.lora_cache import FOLDER
from app.predictions.prediction import Prediction
from app.storage import Storage
from app.storage.errors import FileMissing, StorageError
from worker.engines import Order
from worker.job.lora_files import LoraFiles
from worker.job.order import order_of


class InputFiles:
    """Completes the orders of predictions with their files in the storage."""

    def __init__(self, storage: Storage, lora_files: LoraFiles) -> None:
        self._storage = storage
        self._lora_files = lora_files

    def read_order(self, prediction: Prediction) -> Order:
        """Return the order of a prediction, with its files. Raises FileMissing or StorageError."""
        reference_files = tuple(self._storage.get(key) for key in prediction.reference_keys)
        mask_file = self._storage.get(prediction.mask_key) if prediction.mask_key else b""
        keys = [lora.key for lora in parameters_of(prediction).loras if lora.key]
        lora_files = {key: str(self._lora_files.find(key)) for key in keys}
        return order_of(prediction, reference_files, lora_files, mask_file)


def read_failure(error: StorageError) -> Failure:
    """Return the failure of a prediction whose files cannot be read."""
    if isinstance(error, FileMissing):
        if str(error).startswith(f"{FOLDER}/"):
            message = "a LoRA was deleted from the cache; send the request again"
            return Failure(cause=Cause.INPUT, message=message)
        return Failure(cause=Cause.INPUT, message="an input image has expired; send it again")
    return Failure(cause=Cause.STORAGE, message=str(error))
