"""Settings of workers: checkpoints, LoRAs, number formats, and what image files say."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from app.generation_text import Metadata
from app.settings.value_types import CommaList, Duration, HttpUrl, PositiveDuration

SIDES = range(64, 2049)  # pixels


def _check_sizes(sizes: tuple[str, ...]) -> tuple[str, ...]:
    for size in sizes:
        sides = re.fullmatch(r"(\d{2,4})x(\d{2,4})", size)
        if not sides or not all(int(side) in SIDES for side in sides.groups()):
            raise ValueError(f"{size} is not WIDTHxHEIGHT with sides from 64 to 2048")
    return sizes


class ModelSettings(BaseModel):
    """The section Model of docs/configuration.md."""

    weights: CommaList = Field(
        (),
        alias="KLEIN_WEIGHTS",
        description="Checkpoint folder or file, or a Hugging Face hub id such as `black-forest-labs/FLUX.2-klein-4B`, which is "
        "downloaded once. See [checkpoints.md](checkpoints.md). Several of different kinds, comma-separated: one worker "
        "[serves them all](operating.md#several-models-in-one-worker). `builtin` and `builtin-base` are the models that ship with "
        "klein. Unset: `builtin`.",
    )
    model_turn: Duration = Field(
        timedelta(minutes=1),
        ge=timedelta(0),
        alias="KLEIN_MODEL_TURN",
        description="How long the loaded model of a worker with several keeps it while predictions of another one wait, if memory does not "
        "hold both.",
    )
    model_memory_bytes: int | None = Field(
        None,
        ge=1,
        alias="KLEIN_MODEL_MEMORY_BYTES",
        description="Most device memory that the models of one worker take together; one is always loaded. Unset: all that is free.",
    )
    transformer: str | None = Field(
        None,
        alias="KLEIN_TRANSFORMER",
        description="File or folder of a transformer that replaces that of KLEIN_WEIGHTS, or a file on the hub, such as "
        "`owner/name/file.safetensors`. .safetensors and .gguf files are read.",
    )
    text_encoder: str | None = Field(
        None,
        alias="KLEIN_TEXT_ENCODER",
        description="The same for the text encoder.",
    )
    vae: str | None = Field(
        None, alias="KLEIN_VAE", description="The same for the autoencoder (VAE)."
    )
    loras: Path | None = Field(
        None,
        alias="KLEIN_LORAS",
        description="Folder of the LoRAs that predictions may name in `loras`. The API process reads it too where it can.",
    )
    lora_sources: CommaList = Field(
        (),
        alias="KLEIN_LORA_SOURCES",
        description="Where predictions may name LoRAs besides the folder, comma-separated: `hub` for the Hugging Face hub, host names, or `*` for every host. Unset: the folder alone.",
    )
    lora_cache_bytes: int = Field(
        10 * 1024 * 1024 * 1024,
        ge=1024 * 1024,
        alias="KLEIN_LORA_CACHE_BYTES",
        description="Most bytes of fetched LoRAs in the storage. The ones used longest ago are deleted. No LoRA above 1 GiB is fetched.",
    )
    hub_endpoint: HttpUrl = Field(
        "https://huggingface.co",
        alias="HF_ENDPOINT",
        description="Hugging Face hub that LoRAs and weights are fetched from.",
    )
    device: Literal["auto", "cuda", "cpu", "mps"] = Field(
        "auto",
        alias="KLEIN_DEVICE",
        description="Device of the worker: `cuda` (an NVIDIA or AMD GPU), `cpu`, `mps` (the GPU of a Mac), or `auto`: `cuda` if there is a "
        "GPU, and else `cpu`. A worker does not start if the driver of NVIDIA is loaded but torch cannot use the GPU.",
    )
    quantization: Literal["none", "fp8", "nvfp4", "int8", "int8-weight-only"] = Field(
        "none",
        alias="KLEIN_QUANTIZATION",
        description="Number format of the transformer's matrix products: `none` (bfloat16), `fp8` (Ada, Hopper or Blackwell), `nvfp4` "
        "(Blackwell), `int8` (any GPU, for Ampere) or `int8-weight-only` (saves memory alone). The result is compared with `none` at start "
        "and refused if it is too far off.",
    )
    text_encoder_quantization: Literal["none", "int8-weight-only"] = Field(
        "none",
        alias="KLEIN_TEXT_ENCODER_QUANTIZATION",
        description="Number format of the text encoder's weights: `none` (bfloat16) or `int8-weight-only`, which takes half of their memory. "
        "The embeddings are compared with those of `none` at start, and refused if they are too far off.",
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        alias="KLEIN_COMPILE",
        description="Whether to compile the model before serving. `auto`: on a GPU only, and without compilation if it fails.",
    )
    warm_sizes: Annotated[CommaList, AfterValidator(_check_sizes)] = Field(
        (),
        alias="KLEIN_WARM_SIZES",
        description="Sizes to generate before the worker is ready, comma-separated, such as `1024x1024,768x1344`. With compilation the "
        "first size gets specialised code.",
    )
    batch: int = Field(
        1,
        ge=1,
        le=64,
        alias="KLEIN_BATCH",
        description="Maximum number of text-to-image predictions in one batch. A batch needs the same size, steps, guidance and LoRAs, and enough "
        "memory.",
    )
    idle_unload: PositiveDuration | None = Field(
        None,
        alias="KLEIN_IDLE_UNLOAD",
        description="How long a worker without work keeps the model loaded, such as `15m`. After that its engine process ends, with all "
        "its GPU memory, and the next prediction starts it again. Unset: the model stays loaded.",
    )
    canary_interval: Duration = Field(
        timedelta(minutes=10),
        ge=timedelta(0),
        alias="KLEIN_CANARY_INTERVAL",
        description="How often a worker without work generates a small test image, the canary, and compares it with that of its start. "
        "A worker whose canary differs ends. `0`: never, nor at the start.",
    )
    safety_checker: Path | None = Field(
        None,
        alias="KLEIN_SAFETY_CHECKER",
        description="Folder of a transformers image classifier with a label `nsfw`, such as Falconsai/nsfw_image_detection. Reference "
        "images and output images that it flags are withheld.",
    )
    metadata: Metadata = Field(
        Metadata.NONE,
        alias="KLEIN_METADATA",
        description="What image files say about how they were generated. `none`: nothing. `seed`: seed, steps, size and model. "
        "`full`: the prompts and LoRAs too. The input field `metadata` decides for one prediction.",
    )
    c2pa_cert: Path | None = Field(
        None,
        alias="KLEIN_C2PA_CERT",
        description="PEM file of the certificate chain that signs the content credentials (C2PA) of each image. Unset: images are not "
        "signed.",
    )
    c2pa_key: Path | None = Field(
        None, alias="KLEIN_C2PA_KEY", description="PEM file of the private key of that certificate."
    )

    @model_validator(mode="after")
    def _replaces_components_of_one_checkpoint(self) -> Self:
        components = {
            "KLEIN_TRANSFORMER": self.transformer,
            "KLEIN_TEXT_ENCODER": self.text_encoder,
            "KLEIN_VAE": self.vae,
        }
        replaced = [name for name, value in components.items() if value is not None]
        if replaced and len(self.weights) > 1:
            raise ValueError(
                f"{replaced[0]} replaces a part of one checkpoint, and KLEIN_WEIGHTS names {len(self.weights)}; unset one of them"
            )
        return self
