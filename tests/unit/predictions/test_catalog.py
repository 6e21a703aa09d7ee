"""Tests of each model's inputs, schema and price."""

import json

import jsonschema
import pytest

from app.predictions.catalog import (
    MODELS,
    choose_seed,
    find_model,
    price,
)
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import InvalidInput, UnknownModel
from app.predictions.sizes import NAMED_SIZES

TEXT = MODELS["flux-2-klein-4b-text-to-image"]
EDIT = MODELS["flux-2-klein-4b-edit"]
BASE_EDIT = MODELS["flux-2-klein-4b-base-edit"]
EVERY = pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.slug)
PLAIN = {"prompt": "a red house", "image_urls": ["data:image/png;base64,AAAA"]}


def parse(model, **values):
    return model.parse(PLAIN | values)


def refusal(model, **values):
    with pytest.raises(InvalidInput) as refused:
        parse(model, **values)
    return {problem.field: problem.message for problem in refused.value.problems}


@EVERY
@pytest.mark.parametrize(
    ("field", "accepted"),
    [
        ("prompt", ["x", "x" * 10_000, "火" * 10_000]),
        ("num_inference_steps", [1, 50, 4.0]),
        ("num_images", [1, 4, 2.0]),
        ("acceleration", ["none", "regular", "high"]),
        ("seed", [0, -1, 2**63 - 1, -(2**63), 7.0]),
        ("output_format", ["jpeg", "png", "webp"]),
        ("output_quality", [1, 100]),
        ("enable_safety_checker", [True, False]),
        ("sync_mode", [True, False]),
        ("image_size", [*NAMED_SIZES, {"width": 64, "height": 64}, {"width": 512.0, "height": 64}]),
        ("image_size", [{"width": 2048, "height": 2048}, {"width": 4096, "height": 1024}]),
    ],
)
def test_valid_values_are_accepted(model, field, accepted):
    """Each field accepts its limits, and a whole number written as 4.0."""
    for value in accepted:
        parsed = getattr(parse(model, **{field: value}), field)
        assert value in (parsed, parsed.model_dump() if hasattr(parsed, "model_dump") else None)


@EVERY
@pytest.mark.parametrize(
    ("field", "refused"),
    [
        ("prompt", ["", " ", "\n\t", "x" * 10_001, 5, ["x"], True]),
        ("num_inference_steps", [0, 51, -1, 1.5, "4", True]),
        ("num_images", [0, 5, 1.5, "2", False]),
        ("acceleration", ["", "fast", 1, "HIGH"]),
        ("seed", [2**63, -(2**63) - 1, 0.5, "7", True, 1e30, float("inf")]),
        ("output_format", ["jpg", "gif", "PNG", 1]),
        ("output_quality", [0, 101, 50.5, "high"]),
        ("enable_safety_checker", [0, 1, "true"]),
        ("sync_mode", [0, 1, "false", []]),
        ("image_size", ["huge", "", 1024, [1024, 1024], {}, {"width": 512}, {"height": 512}]),
        ("image_size", [{"width": 72, "height": 64}, {"width": 48, "height": 64}]),
        ("image_size", [{"width": 2064, "height": 2048}, {"width": 1024, "height": 64}]),
        ("image_size", [{"width": "512", "height": 512}, {"width": 0, "height": 0}]),
    ],
)
def test_invalid_values_are_refused(model, field, refused):
    """Each field refuses values beyond its limits or of another type, and the problem names the field."""
    for value in refused:
        assert list(refusal(model, **{field: value})) == [field]


@EVERY
@pytest.mark.parametrize("field", ["seed", "image_size", "num_images", "output_quality"])
def test_null_means_absent(model, field):
    """A null field is treated as absent."""
    assert parse(model, **{field: None}) == parse(model)


@EVERY
def test_prompt_is_required(model):
    """A null prompt is refused by name."""
    assert list(refusal(model, prompt=None)) == ["prompt"]


@EVERY
def test_unknown_fields_are_ignored(model):
    """Unknown fields change nothing."""
    assert parse(model, lora=[], whatever={"a": 1}) == parse(model)


@EVERY
def test_all_problems_are_named(model):
    """Three wrong fields give three problems."""
    assert set(refusal(model, seed="x", num_images=9, sync_mode=2)) == {
        "seed",
        "num_images",
        "sync_mode",
    }


@EVERY
@pytest.mark.parametrize(
    "path", ["a b.safetensors", "[v1] ink (2).safetensors", "水墨.safetensors", "s/t/a.safetensors"]
)
def test_lora_path_may_have_any_printable_characters(model, path):
    """Spaces, brackets, any script and subfolders are accepted, and a scale of null is 1."""
    assert parse(model, loras=[{"path": path, "scale": None}]).loras[0].scale == 1


@EVERY
def test_loras_are_parsed(model):
    """Each LoRA has a path and a scale, which is 1 by default, and null means no LoRAs."""
    loras = [{"path": "Ink-v1.2.safetensors", "scale": -4}, {"path": "b.safetensors", "more": 1}]

    assert [(lora.path, lora.scale) for lora in parse(model, loras=loras).loras] == [
        ("Ink-v1.2.safetensors", -4),
        ("b.safetensors", 1),
    ]
    assert parse(model, loras=None).loras == parse(model).loras == []


@EVERY
@pytest.mark.parametrize(
    "path",
    [
        "",
        "../a.safetensors",
        "sub/../a.safetensors",
        "sub//a.safetensors",
        "sub\\a.safetensors",
        "/a.safetensors",
        ".safetensors",
        "..safetensors",
        "a.safetensors\n",
        "a\0.safetensors",
        "a" * 400 + ".safetensors",
        "a\u202e.safetensors",
        7,
        None,
    ],
)
def test_lora_path_is_refused(model, path):
    """A path that could lead elsewhere or cannot be displayed is refused, and the problem has its position."""
    assert list(refusal(model, loras=[{"path": "a.safetensors"}, {"path": path}])) == [
        "loras[1].path"
    ]


@EVERY
@pytest.mark.parametrize(
    ("loras", "field"),
    [
        ([{"path": f"{k}.safetensors"} for k in range(4)], "loras"),
        ([{"path": "a.safetensors"}] * 2, "loras"),
        ("a.safetensors", "loras"),
        ([{}], "loras[0].path"),
        (["a.safetensors"], "loras[0]"),
        ([{"path": "a.safetensors", "scale": 4.1}], "loras[0].scale"),
        ([{"path": "a.safetensors", "scale": -4.1}], "loras[0].scale"),
        ([{"path": "a.safetensors", "scale": "1"}], "loras[0].scale"),
        ([{"path": "a.safetensors", "scale": float("nan")}], "loras[0].scale"),
    ],
)
def test_invalid_loras_are_refused(model, loras, field):
    """Too many LoRAs, duplicates, wrong types and scales beyond the limits are each refused with their position."""
    assert list(refusal(model, loras=loras)) == [field]


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (
            {"width": 72, "height": 64},
            "the width 72 is not a multiple of 16; the nearest size is 80x64",
        ),
        ({"width": 64}, "height is required"),
        ({"width": "64", "height": 64}, "width must be a whole number"),
        ([64, 64], "or an object"),
        ({"width": 48, "height": 64}, "width must be at least 64"),
        ({"width": 65_552, "height": 64}, "width must be at most 65536"),
        (
            {"width": 2064, "height": 2048},
            "more than 4194304 pixels; the nearest size is 2048x2032",
        ),
        ({"width": 4100, "height": 4100}, "the nearest size is 2048x2048"),
        ({"width": 1024, "height": 64}, "8 times the height 64; the nearest size is 512x64"),
        ("huge", "square_hd"),
        (7, "square_hd"),
    ],
)
def test_invalid_size_is_named(size, words):
    """The message about a wrong size says what is wrong with it."""
    assert words in refusal(TEXT, image_size=size)["image_size"]


@pytest.mark.parametrize("model", [EDIT, BASE_EDIT], ids=lambda model: model.slug)
@pytest.mark.parametrize("urls", [None, [], ["x"] * 5, "x", [1], [None]])
def test_edit_takes_one_to_four_images(model, urls):
    """An edit takes a list of 1 to 4 strings, and any other value is refused by name."""
    assert list(refusal(model, image_urls=urls)) == ["image_urls"]
    assert parse(model, image_urls=["x"] * 4).reference_urls == ("x",) * 4


@pytest.mark.parametrize("model", [TEXT, BASE_EDIT], ids=lambda model: model.slug)
@pytest.mark.parametrize("scale", [-0.1, 20.1, float("nan"), float("inf"), "5", True])
def test_guidance_range(model, scale):
    """A guidance scale outside 0 to 20 is refused, and one within is kept."""
    assert list(refusal(model, guidance_scale=scale)) == ["guidance_scale"]
    assert [parse(model, guidance_scale=s).guidance for s in (0, 2.5, 20)] == [0, 2.5, 20]


@pytest.mark.parametrize("model", [EDIT, BASE_EDIT], ids=lambda model: model.slug)
@pytest.mark.parametrize("strength", [0, -0.1, 1.01, float("nan"), "0.5", True])
def test_strength_range(model, strength):
    """A strength outside 0 to 1, or 0 itself, is refused, and one within is settled."""
    assert list(refusal(model, strength=strength)) == ["strength"]
    assert [parse(model, strength=s).change for s in (0.01, 0.5, 1)] == [0.01, 0.5, 1]
    assert parse(model).change == 1


def test_mask_is_for_edits():
    """An edit takes a mask as a string, and a model without images refuses one by its name."""
    assert parse(EDIT, mask_url="data:,x").mask == "data:,x"
    assert parse(EDIT, mask_url="").mask is None
    assert list(refusal(EDIT, mask_url=5)) == ["mask_url"]
    assert list(refusal(TEXT, mask_url="data:,x")) == ["mask_url"]
    assert parse(TEXT, mask_url=None, strength=9).mask is None


def test_negative_prompt_length_limit():
    """A negative prompt may be empty, and at most as long as a prompt."""
    assert list(refusal(TEXT, negative_prompt="x" * 10_001)) == ["negative_prompt"]
    assert parse(TEXT, negative_prompt="fog").negative == "fog"
    assert parse(TEXT).negative == parse(EDIT).negative == ""


@EVERY
def test_size_is_width_then_height(model):
    """A size, named or in numbers, is read as (width, height)."""
    assert parse(model, image_size="portrait_16_9").size == (576, 1024)
    assert parse(model, image_size={"width": 128, "height": 64}).size == (128, 64)


def test_text_to_image_ignores_reference_images():
    """A text-to-image model ignores reference images."""
    assert parse(TEXT).reference_urls == ()


@EVERY
def test_schema_is_plain(model):
    """Each property has one type, and the schema has no references, unions or nulls."""
    schema = model.request_schema
    jsonschema.Draft202012Validator.check_schema(schema)

    assert all(isinstance(spec["type"], str) for spec in schema["properties"].values())
    assert not {"$ref", "anyOf", "allOf", "oneOf", "title"} & set(json.dumps(schema).split('"'))
    assert "null" not in json.dumps(schema)


@EVERY
def test_schema_has_defaults(model):
    """The schema has the default steps of the checkpoint, and a default size unless the model edits images."""
    properties = model.request_schema["properties"]

    assert properties["num_inference_steps"]["default"] == model.checkpoint.default_steps
    assert ("default" in properties["image_size"]) == ("image_urls" not in properties)


@pytest.mark.parametrize(
    ("sizes", "dollars"),
    [
        ([], 0),
        ([(1000, 1000)], 0.001),
        ([(1024, 768)], 0.000786),
        ([(1024, 1024)] * 4, 0.004194),
        ([(64, 64)], 0.000004),
    ],
)
def test_price_per_megapixel(sizes, dollars):
    """The price is $0.001 per megapixel of output, rounded to a millionth of a dollar."""
    assert price(sizes) == dollars


def test_model_is_found_if_served():
    """A model is found if a worker serves its checkpoint kind, and any other slug is unknown."""
    served = frozenset({CheckpointKind.DISTILLED})

    assert find_model("flux-2-klein-4b-edit", served) is EDIT
    for slug in ("flux-2-klein-4b-base-edit", "nonsense", ""):
        with pytest.raises(UnknownModel):
            find_model(slug, served)


@pytest.mark.parametrize("size", ["4b", "9b"])
@pytest.mark.parametrize("task", ["text-to-image", "edit"])
def test_base_checkpoint_replaces_distilled(size, task):
    """Where only the base checkpoint of a size is served, its model runs for the slugs of the distilled one."""
    kinds = {"4b": CheckpointKind.BASE, "9b": CheckpointKind.BASE_9B}
    slug, base_slug = f"flux-2-klein-{size}-{task}", f"flux-2-klein-{size}-base-{task}"

    assert find_model(slug, frozenset({kinds[size]})) is MODELS[base_slug]
    assert find_model(slug, frozenset(CheckpointKind)) is MODELS[slug]
    other = kinds["9b" if size == "4b" else "4b"]
    with pytest.raises(UnknownModel):
        find_model(slug, frozenset({other}))


def test_9b_licence():
    """The licence of the 9B weights is not that of the 4B weights."""
    licences = {model.slug: model.checkpoint.licence for model in MODELS.values()}

    assert licences["flux-2-klein-4b-edit"] == "Apache-2.0"
    assert licences["flux-2-klein-9b-base-edit"] == "FLUX Non-Commercial License"


def test_random_seeds_differ():
    """A hundred random seeds are distinct and have at most 32 bits."""
    seeds = {choose_seed() for _ in range(100)}

    assert len(seeds) == 100
    assert all(0 <= seed < 2**32 for seed in seeds)
