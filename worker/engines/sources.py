"""Detects the layout of a checkpoint: which files hold its components, and which folder its configuration.

Every layout becomes one `Sources`: a diffusers folder with the configuration and the tokenizer, and for each
component its files. Reads headers only, and imports no torch.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.engines.component_files import FILE_NAMES, list_component_files, list_folder, weights_in
from worker.engines.errors import WeightsError
from worker.engines.tensor_file import TensorFile, open_tensor_file
from worker.engines.tensor_names import Component, components_in

PIPELINE_CLASS = "Flux2KleinPipeline"
# The folders of ComfyUI, beside each other.
_COMFY_FOLDERS = {
    Component.TRANSFORMER: ("diffusion_models", "unet", "checkpoints"),
    Component.TEXT_ENCODER: ("text_encoders", "clip"),
    Component.VAE: ("vae",),
}
_LORA = re.compile(r"\.lora_|\.lokr_|\.hada_")
_EXAMPLE = "KLEIN_WEIGHTS=black-forest-labs/FLUX.2-klein-4B"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSource:
    """Names the files of one component and its class."""

    component: Component
    library: str
    class_name: str
    config: Path
    """The folder that holds its config.json."""
    files: tuple[TensorFile, ...]
    is_whole_folder: bool = False
    """Whether the files lie in the folder of the configuration, as diffusers writes them."""

    @property
    def name(self) -> Path:
        """Return the file or folder to name in messages."""
        return self.config if self.is_whole_folder else self.files[0].path


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Names everything that a checkpoint is loaded from."""

    base: Path
    """The diffusers folder with model_index.json, tokenizer and scheduler."""
    index: Mapping[str, object]
    """Its model_index.json."""
    components: tuple[ComponentSource, ...]

    @property
    def is_folder(self) -> bool:
        """Return whether everything lies in one diffusers folder."""
        return all(
            source.is_whole_folder and source.config.parent == self.base
            for source in self.components
        )


def find_sources(weights: Path, overrides: Mapping[Component, Path]) -> Sources:
    """Find the files of a checkpoint. `overrides` names files or folders of single components.

    Raises `WeightsError`, which names what is missing and what to do.
    """
    weights = hub_snapshot(weights)
    main = _main_file(weights)
    base = weights if main is None else _base_beside(main)
    index = read_index(base)
    held = set() if main is None else components_in(main.tensors)
    if main is not None and not held:
        raise WeightsError(_foreign(main, "model"))
    sources = []
    for component in Component:
        library, class_name = _class_of(index, component)
        config = base / component
        if not config.is_dir():
            raise WeightsError(
                f"weights folder {base} has no {component} folder; copy or download the checkpoint again"
            )
        files: tuple[TensorFile, ...]
        is_folder = False
        if override := overrides.get(component):
            config, files, is_folder = _override(component, override, config, library)
        elif main is not None and component in held:
            files = (main,)
        elif main is not None and (beside := _comfy_file(main.path, component, config)):
            files = (beside,)
        else:
            files, is_folder = _folder_files(config, library, main), True
        if not (config / "config.json").is_file():
            raise WeightsError(
                f"{config} has no config.json. Copy or download the checkpoint again"
            )
        sources.append(
            ComponentSource(
                component=component,
                library=library,
                class_name=class_name,
                config=config,
                files=files,
                is_whole_folder=is_folder,
            )
        )
    checkpoint_sources = Sources(base=base, index=index, components=tuple(sources))
    _check_kind(checkpoint_sources)
    return checkpoint_sources


def hub_snapshot(path: Path) -> Path:
    """Return the current snapshot of a repository's folder in the hub's cache, or the path itself."""
    if not (path / "snapshots").is_dir():
        return path
    try:
        commit = (path / "refs" / "main").read_text().strip()
    except OSError:
        commits = sorted((path / "snapshots").iterdir())
        if len(commits) != 1:
            raise WeightsError(
                f"{path} is a repository in the cache of the hub with {len(commits)} snapshots. "
                "Set KLEIN_WEIGHTS to one of the folders in snapshots/"
            ) from None
        return commits[0]
    return path / "snapshots" / commit


def read_index(path: Path) -> dict[str, object]:
    """Read model_index.json. Raises `WeightsError` if it names another pipeline."""
    file = path / "model_index.json"
    try:
        index = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise WeightsError(
            f"{path} is not a diffusers folder: it has no model_index.json. To serve a single file, set "
            f"KLEIN_TRANSFORMER to it, and {_EXAMPLE} or to a folder of that checkpoint"
        ) from None
    except (OSError, ValueError, RecursionError) as exc:
        raise WeightsError(
            f"{file} is not readable JSON: {exc}. Copy or download it again"
        ) from exc
    class_name = index.get("_class_name") if isinstance(index, dict) else None
    if class_name != PIPELINE_CLASS:
        raise WeightsError(
            f"{path} holds a {class_name or 'pipeline without a class name'}, not a {PIPELINE_CLASS}"
        )
    return dict(index)


def _class_of(index: Mapping[str, object], component: Component) -> tuple[str, str]:
    match index.get(component):
        case [str(library), str(class_name)] if library in FILE_NAMES:
            return library, class_name
    raise WeightsError(
        f"model_index.json names no class of diffusers or transformers for {component}"
    )


def _main_file(weights: Path) -> TensorFile | None:
    """Return the file that KLEIN_WEIGHTS means. None for a diffusers folder."""
    if weights.is_file():
        return open_tensor_file(weights)
    if not weights.is_dir():
        raise WeightsError(
            f"weights folder {weights} does not exist or is not a folder; correct KLEIN_WEIGHTS"
        )
    if (weights / "model_index.json").exists():
        return None
    folders = (weights, *(weights / name for name in _COMFY_FOLDERS[Component.TRANSFORMER]))
    files = [open_tensor_file(path) for folder in folders for path in weights_in(folder)]
    files = [file for file in files if Component.TRANSFORMER in components_in(file.tensors)]
    if not files:
        return None  # `read_index` says what is missing
    if len(files) > 1:
        names = ", ".join(file.path.relative_to(weights).as_posix() for file in files[:4])
        raise WeightsError(
            f"{weights} holds several transformers: {names}. Set KLEIN_WEIGHTS to one of the files"
        )
    return files[0]


def _base_beside(main: TensorFile) -> Path:
    """Return the diffusers folder that holds a file, or lies beside it. In ComfyUI's folders that is one level higher."""
    folder = main.path.absolute().parent
    is_comfy = folder.name in _COMFY_FOLDERS[Component.TRANSFORMER]
    above = (folder, folder.parent) if is_comfy else (folder,)
    for parent in (folder, folder.parent):
        if (parent / "model_index.json").exists():
            return parent
    candidates = [
        child
        for parent in above
        for child in list_folder(parent)
        if (child / "model_index.json").is_file() and _is_klein(child)
    ]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        names = ", ".join(map(str, candidates[:4]))
        raise WeightsError(
            f"{main.path}: several diffusers folders lie beside it: {names}. "
            "Set KLEIN_WEIGHTS to one of them, and KLEIN_TRANSFORMER to the file"
        )
    raise WeightsError(
        f"{main.path} has no configuration and no tokenizer, and no diffusers folder lies beside it. Set {_EXAMPLE} "
        "(or a folder of that checkpoint), and KLEIN_TRANSFORMER to the file"
    )


def _is_klein(folder: Path) -> bool:
    try:
        read_index(folder)
    except WeightsError:
        return False
    return True


def _override(
    component: Component, path: Path, config: Path, library: str
) -> tuple[Path, tuple[TensorFile, ...], bool]:
    """Return configuration folder and files of a component that a setting names."""
    setting = f"KLEIN_{component.upper()}"
    if path.is_dir():
        folder = path / component if (path / component).is_dir() else path
        own = folder if (folder / "config.json").is_file() else config
        return own, _folder_files(folder, library, None), own is folder
    if not path.is_file():
        raise WeightsError(f"{setting}: there is no file or folder {path}")
    file = open_tensor_file(path)
    if component not in components_in(file.tensors):
        raise WeightsError(f"{setting}: {_foreign(file, component)}")
    return config, (file,), False


def _foreign(file: TensorFile, wanted: str) -> str:
    """Say that a file holds something else."""
    names = list(file.tensors)
    if any(_LORA.search(name) for name in names):
        return f"{file.path} holds a LoRA and no model. Put it into the folder KLEIN_LORAS"
    first_names = ", ".join(names[:2]) or "no tensors"
    return f"{file.path} holds no {wanted} of FLUX.2 [klein] ({first_names} …). Name a file of that checkpoint"


def _comfy_file(main: Path, component: Component, config: Path) -> TensorFile | None:
    """Return the file of a component in ComfyUI's folders beside a transformer, unless the diffusers folder has one."""
    if weights_in(config):
        return None
    root = main.absolute().parent.parent
    files = [
        file
        for name in _COMFY_FOLDERS[component]
        for path in weights_in(root / name)
        if components_in((file := open_tensor_file(path)).tensors) == {component}
        and _fits(file, component, config)
    ]
    if len(files) > 1:
        names = ", ".join(str(file.path.relative_to(root)) for file in files[:4])
        raise WeightsError(
            f"{root} holds several files that fit as {component}: {names}. Set KLEIN_{component.upper()} to one of them"
        )
    return files[0] if files else None


def _fits(file: TensorFile, component: Component, config: Path) -> bool:
    """Return whether a text encoder has the width of the configuration. ComfyUI's folders hold those of other models."""
    if component is not Component.TEXT_ENCODER:
        return any(name.endswith("bn.running_mean") for name in file.tensors)
    try:
        width = json.loads((config / "config.json").read_bytes())["hidden_size"]
    except (OSError, ValueError, KeyError, TypeError):
        return True  # reported where the configuration is read
    norms = [
        info
        for name, info in file.tensors.items()
        if name.endswith(("model.norm.weight", "output_norm.weight"))
    ]
    return any(info.shape == (width,) for info in norms)


def _folder_files(folder: Path, library: str, main: TensorFile | None) -> tuple[TensorFile, ...]:
    paths = list_component_files(folder, library)
    if not paths:
        advice = "" if main is None else f", and neither does {main.path} hold the {folder.name}"
        raise WeightsError(
            f"{folder} has no .safetensors or .gguf file; pickles are not loaded{advice}"
        )
    return tuple(open_tensor_file(path) for path in paths)


def _check_kind(sources: Sources) -> None:
    """Refuse a base transformer with the settings of a distilled one, which would generate blurs, and the reverse."""
    source = next(s for s in sources.components if s.component is Component.TRANSFORMER)
    if source.is_whole_folder:
        return
    words = set(re.split(r"[^a-z0-9]+", source.name.stem.lower()))
    if "klein" not in words:
        return
    is_distilled = sources.index.get("is_distilled") is True
    if is_distilled == ("base" in words):
        actual, other = ("distilled", "base") if is_distilled else ("base", "distilled")
        raise WeightsError(
            f"{source.name} is a {other} checkpoint by its name, and {sources.base} is the folder of a {actual} one. "
            f"Use the folder of the {other} checkpoint, or rename the file"
        )
