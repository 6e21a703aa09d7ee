"""Lists the LoRAs that predictions may name, and checks those of a request before it is queued."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.dns import LookupsBusy
from app.logs import log
from app.loras.errors import DiskLow, IncompatibleLora
from app.loras.fetch import LoraFetcher
from app.loras.library import Library, LoraInfo, UnknownLora, inspect_file
from app.loras.names import SUFFIX
from app.loras.sources import HubFile, is_url, parse_repository
from app.loras.transformer import PUBLISHED
from app.predictions.catalog import MODELS
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import FieldProblem, InvalidInput, TooManyRequests, Unavailable
from app.predictions.lora import Lora
from app.predictions.lora_cache import FetchedLora, Fit, LoraCache
from app.predictions.parameters import AppliedLora
from app.predictions.worker_registry import Worker, WorkerRegistry

RETRY_S = 5
BUSY = "other LoRAs are being fetched; try again"
NO_FOLDER = "this server has no LoRA folder; its operator can set KLEIN_LORAS"
UNKNOWN = "there is no such file in the LoRA folder; GET /v1/loras lists what there is"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedLora:
    """A LoRA as callers see it."""

    name: str
    size_bytes: int
    base: str | None
    """The checkpoint that it fits: a published one, else the one that is served, or None if it fits neither."""
    models: tuple[str, ...]
    """The slugs of the served models that it fits."""
    trigger_words: tuple[str, ...]
    problem: str | None
    """Why no served model can use it."""


class NoRoomForLora(Unavailable):
    """The disk has too little space to fetch this LoRA; what is left is for images."""


class LoraCatalog:
    """The LoRAs of this server, and the models that they fit."""

    def __init__(
        self, library: Library, registry: WorkerRegistry, cache: LoraCache, fetcher: LoraFetcher
    ) -> None:
        self._library = library
        self._registry = registry
        self._cache = cache
        self._fetcher = fetcher

    def list_all(self, key_id: str) -> list[ListedLora]:
        """List the LoRAs of the folder, then those that this key fetched. Raises Unavailable."""
        workers = self._registry.present()
        files = [_listed(file.name, file.info, workers) for file in self._library.list_files()]
        return files + [_listed(f.source, f, workers) for f in self._cache.list_all(key_id)]

    def resolve(
        self, key_id: str, loras: Sequence[AppliedLora], kind: CheckpointKind
    ) -> tuple[AppliedLora, ...]:
        """Return the LoRAs of a request with the storage keys of those that had to be fetched.

        Raises InvalidInput, TooManyRequests, StorageError or Unavailable.
        """
        workers = [worker for worker in self._registry.present() if worker.checkpoint is kind]
        resolved, problems = [], []
        for k, lora in enumerate(loras):
            try:
                resolved.append(self._resolve(key_id, lora, workers))
            except IncompatibleLora as exc:
                problems.append(_problem(k, str(exc)))
        if problems:
            raise InvalidInput(*problems)
        return tuple(resolved)

    def _resolve(self, key_id: str, lora: AppliedLora, workers: Sequence[Worker]) -> AppliedLora:
        source = self._source(lora.path)
        if source is None:
            return lora
        fetched = self._cache.find(key_id, lora.path)
        if fetched is None:
            fetched = self._fetch(key_id, lora.path, source, workers)
        elif message := _why_unfit(fetched, workers):
            raise IncompatibleLora(message)
        return replace(lora, key=fetched.key)

    def _source(self, path: str) -> str | HubFile | None:
        """Return where to fetch a LoRA, or None for a name of the folder. Raises IncompatibleLora."""
        repository = None if is_url(path) else parse_repository(path)
        if repository is not None and (self._has_file(path) or not self._fetcher.has_hub):
            repository = None
        source = path if is_url(path) else repository
        if source is not None and (reason := self._fetcher.why_refused(source)):
            raise IncompatibleLora(reason)
        return source

    def _has_file(self, name: str) -> bool:
        try:
            self._library.find(name)
        except UnknownLora:
            return False
        return True

    def _fetch(
        self, key_id: str, path: str, source: str | HubFile, workers: Sequence[Worker]
    ) -> FetchedLora:
        try:
            with self._fetcher.scratch_folder() as folder:
                file = self._fetcher.fetch(source, folder, key_id)
                info = inspect_file(file)
                if info.problem is not None:
                    raise IncompatibleLora(info.problem)
                sizes = {*PUBLISHED.values(), *(w.transformer for w in workers if w.transformer)}
                fetched = FetchedLora(
                    source=path,
                    key="",
                    size_bytes=info.size_bytes,
                    fetched_at=0,
                    trigger_words=info.trigger_words,
                    bases=info.bases,
                    fits=tuple(Fit(size=size, problem=info.why_unfit(size)) for size in sizes),
                )
                if message := _why_unfit(fetched, workers):
                    raise IncompatibleLora(message)
                return self._cache.add(key_id, file, fetched)
        except LookupsBusy as exc:
            raise TooManyRequests(BUSY, retry_after_s=RETRY_S) from exc
        except DiskLow as exc:
            raise NoRoomForLora from exc

    def check(self, loras: Sequence[Lora], kind: CheckpointKind) -> list[FieldProblem]:
        """Return what is wrong with the LoRAs of a request, as far as this process can know. Raises Unavailable."""
        if not loras:
            return []
        workers = [worker for worker in self._registry.present() if worker.checkpoint is kind]
        problems = []
        for k, lora in enumerate(loras):
            if message := self._problem(lora.path, workers):
                problems.append(_problem(k, message))
        return problems

    def _problem(self, name: str, workers: Sequence[Worker]) -> str | None:
        try:
            if self._source(name) is not None:
                return None  # `resolve` fetches it
        except IncompatibleLora as exc:
            return str(exc)
        if not self._library.is_visible:  # the workers' machines may have it
            has_none = workers and not any(worker.has_lora_folder for worker in workers)
            is_file = name.lower().endswith(SUFFIX)
            return NO_FOLDER if has_none else None if is_file else UNKNOWN
        try:
            info = self._library.find(name)
        except UnknownLora:
            return UNKNOWN
        return _why_unfit(info, workers)


def _problem(k: int, message: str) -> FieldProblem:
    log.info("lora_refused", reason=message)
    return FieldProblem(field=f"loras[{k}].path", message=message)


def _why_unfit(info: LoraInfo | FetchedLora, workers: Sequence[Worker]) -> str | None:
    """Return why a LoRA fits no worker, or None if it fits one, or may."""
    if isinstance(info, LoraInfo) and info.problem is not None:
        return info.problem
    reasons = [
        None if worker.transformer is None else info.why_unfit(worker.transformer)
        for worker in workers
    ]
    return reasons[0] if reasons and all(reasons) else None


def _listed(name: str, info: LoraInfo | FetchedLora, workers: Sequence[Worker]) -> ListedLora:
    fitting = [w for w in workers if w.transformer and info.why_unfit(w.transformer) is None]
    kinds = {worker.checkpoint for worker in fitting}
    bases = (*info.bases, *(worker.weights for worker in fitting))
    return ListedLora(
        name=name,
        size_bytes=info.size_bytes,
        base=bases[0] if bases else None,
        models=tuple(slug for slug, model in MODELS.items() if model.checkpoint in kinds),
        trigger_words=info.trigger_words,
        problem=_why_unfit(info, workers),
    )
