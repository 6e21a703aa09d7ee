"""Tests of the safety checker and of the engine that it wraps."""

import io
import math
from dataclasses import replace
from itertools import zip_longest

import numpy as np
import pytest
from PIL import Image

from tests.support.fake_engine_process import FakeEngine
from tests.support.fakes import a_result
from tests.support.tiny_safety_checker import make_checker
from worker.engines import Order, UnusableSetting, Withheld
from worker.engines.safety import SafetyCheckedEngine, SafetyChecker
from worker.engines.tuning import Tuning


@pytest.fixture(scope="module")
def checker(tmp_path_factory):
    return SafetyChecker(make_checker(tmp_path_factory.mktemp("checker") / "red"))


class OneColourEngine:
    """An engine that generates images of one colour."""

    checkpoint = FakeEngine.checkpoint

    def __init__(self, colour):
        self.colour = colour
        self.orders = []

    def warm_up(self):
        pass

    def generate(self, order, _on_step, on_preview=None):
        self.orders.append(order)
        result = a_result(2)
        if on_preview is not None:
            on_preview(result.images[0])
        result.images[0][:] = np.asarray(plain(self.colour, (1, 1)))
        return result

    def generate_batch(self, orders, on_step, on_previews=()):
        """Generate red images for the prompt "red", and the engine's own colour for others."""
        return tuple(
            OneColourEngine("red" if order.prompt == "red" else self.colour).generate(
                order, on_step, on_preview
            )
            for order, on_preview in zip_longest(orders, on_previews)
        )


def plain(colour, size=(96, 64)):
    return Image.new("RGB", size, colour)


def an_order(*references):
    files = []
    for colour in references:
        file = io.BytesIO()
        plain(colour).save(file, "PNG")
        files.append(file.getvalue())
    return Order(
        prompt="x",
        width=64,
        height=64,
        steps=1,
        guidance=1.0,
        seeds=(1, 2),
        reference_files=tuple(files),
    )


@pytest.mark.parametrize("colour", ["red", "darkred"])
def test_unsafe_image_is_detected(checker, colour):
    """One unsafe image among others is found."""
    assert checker.is_any_unsafe([plain("blue"), plain(colour, (640, 100)), plain("teal")])


@pytest.mark.parametrize("colour", ["blue", "white", "teal"])
def test_safe_image_passes(checker, colour):
    """A safe image passes."""
    assert not checker.is_any_unsafe([plain(colour)])


@pytest.mark.parametrize(("score", "is_unsafe"), [(0.8, False), (0.95, True), (math.nan, True)])
def test_threshold(tmp_path, score, is_unsafe):
    """A score above 0.85, or one that is not a number, is unsafe."""
    checker = SafetyChecker(make_checker(tmp_path / "checker", score=score))

    assert checker.is_any_unsafe([plain("red")]) is is_unsafe


def test_unsafe_image_is_withheld(checker):
    """An order with an unsafe image fails without returning any image."""
    with pytest.raises(Withheld, match="withholds the image"):
        SafetyCheckedEngine(OneColourEngine("red"), checker).generate(an_order(), lambda *_: None)


def test_safety_checker_disables_previews(checker):
    """With a safety checker no previews are sent, because their image may be withheld at the end."""
    previews: list[object] = []
    engine = SafetyCheckedEngine(OneColourEngine("blue"), checker)
    engine.generate(an_order(), lambda *_: None, previews.append)
    engine.generate_batch([an_order()], lambda *_: None, [previews.append])

    assert previews == []


def test_unsafe_input_generates_nothing(checker):
    """One unsafe input image among others ends the order before anything is generated."""
    wrapped = OneColourEngine("blue")
    with pytest.raises(Withheld, match="input image"):
        SafetyCheckedEngine(wrapped, checker).generate(an_order("teal", "red"), lambda *_: None)

    assert wrapped.orders == []


def test_unsafe_image_in_batch_is_withheld_alone(checker):
    """An unsafe order of a batch has no result, and the others have theirs."""
    engine = SafetyCheckedEngine(OneColourEngine("blue"), checker)
    orders = [replace(an_order(), prompt=prompt) for prompt in ("fine", "red", "fine")]
    results = engine.generate_batch(orders, lambda *_: None)

    assert [result is None for result in results] == [False, True, False]


def test_safe_order_returns_images(checker):
    """A safe order returns its images."""
    engine = SafetyCheckedEngine(OneColourEngine("blue"), checker)
    engine.warm_up()

    assert len(engine.generate(an_order("teal"), lambda *_: None).images) == 2


@pytest.mark.parametrize("kind", ["missing", "empty", "without the label", "truncated"])
def test_invalid_checker_folder_is_refused(tmp_path, kind):
    """A checker folder that is missing, empty, truncated or without the label is refused with the name of its setting."""
    folder = tmp_path / "checker"
    match kind:
        case "empty":
            folder.mkdir()
        case "without the label":
            make_checker(folder, label="dog")
        case "truncated":
            make_checker(folder)
            weights = folder / "model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-8])

    with pytest.raises(UnusableSetting, match="KLEIN_SAFETY_CHECKER"):
        SafetyChecker(folder)


def test_safety_setting_json_round_trip(tmp_path):
    """The setting survives the conversion to JSON and back, set or unset."""
    for tuning in (Tuning(), Tuning(safety_checker=tmp_path)):
        assert Tuning.from_json(tuning.to_json()) == tuning
