"""Checks a checkpoint as the worker does before it loads one: `python -P -m worker.weights.check --weights …`.

Prints one line: what was found, what it needs, and how it will be placed. `klein doctor` runs it.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

from worker.engines.component import check_component
from worker.engines.device import choose_device, device_name, free_memory_bytes
from worker.engines.errors import EngineError
from worker.engines.folder import inspect_folder
from worker.engines.libraries import silence_libraries
from worker.engines.placement import (
    ComponentSizes,
    choose_placement,
    component_sizes,
    required_bytes,
)
from worker.engines.precision import choose_weights_dtype
from worker.engines.prompt_encoder import truncate_text_encoder
from worker.engines.tensor_names import Component
from worker.engines.tuning import DeviceChoice, Quantization
from worker.weights.locate import NotDownloaded, locate_components, locate_weights

REFUSED, MISSING = 1, 3  # exit codes


def main() -> None:
    """Check the checkpoint that the command line names."""
    arguments = _parse_arguments()
    silence_libraries()
    components = {component: getattr(arguments, component.value) for component in Component}
    try:
        quantization = Quantization(arguments.quantization)
        report = describe(
            arguments.weights,
            components,
            quantization,
            arguments.device,
            Quantization(arguments.text_encoder_quantization),
        )
        print(report)  # noqa: T201 -- the output of a command
    except NotDownloaded as exc:
        print(exc)  # noqa: T201
        raise SystemExit(MISSING) from None
    except EngineError as exc:
        print(exc)  # noqa: T201
        raise SystemExit(REFUSED) from None


def describe(
    setting: str,
    components: Mapping[Component, str | None],
    quantization: Quantization,
    device_choice: DeviceChoice = DeviceChoice.AUTO,
    text_encoder_quantization: Quantization = Quantization.NONE,
) -> str:
    """Describe what a worker with these settings would load, and where.

    Raises `WeightsError`, and `UnusableSetting` if the device has too little memory.
    """
    overrides = locate_components(components, is_offline=True)
    weights = locate_weights(setting, replaced=overrides, is_offline=True)
    folder = inspect_folder(weights, overrides)
    summaries = {source.component: check_component(source) for source in folder.sources.components}
    device = choose_device(device_choice)
    dtype = choose_weights_dtype(device, folder.size_bytes)
    models = SimpleNamespace(
        **{component: summary.model.to(dtype) for component, summary in summaries.items()}
    )
    truncate_text_encoder(models, max(folder.manifest.text_encoder_out_layers))
    sizes = component_sizes(models, quantization, text_encoder_quantization)
    free_bytes = free_memory_bytes(device)
    placement = "" if free_bytes is None else f" ({_placement(free_bytes, sizes)})"
    layouts = [
        f"{source.component.replace('_', ' ')}: {_place(source.files[0].path, folder.path)}{summaries[source.component].layout}"
        for source in folder.sources.components
    ]
    return (
        f"{folder.kind} checkpoint, complete; {', '.join(layouts)}; "
        f"{_size(sizes.total)} of weights on {device_name(device)}{placement}"
    )


def _placement(free_bytes: int, sizes: ComponentSizes) -> str:
    placement = choose_placement(free_bytes, sizes)
    needed = required_bytes(placement, sizes)
    return f"{placement}: needs {needed / 1e9:.1f} of {free_bytes / 1e9:.1f} GB free"


def _place(file: Path, base: Path) -> str:
    return "" if file.is_relative_to(base) else f"{file.name}, "


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes > 1e9 else f"{size_bytes / 1e6:.0f} MB"  # noqa: PLR2004 -- 1 GB


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="worker.weights.check", description=main.__doc__)
    parser.add_argument("--weights", default="builtin")
    parser.add_argument("--quantization", default="none")
    parser.add_argument("--text-encoder-quantization", default="none")
    parser.add_argument("--device", type=DeviceChoice, default=DeviceChoice.AUTO)
    for component in Component:
        parser.add_argument(f"--{component.replace('_', '-')}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
