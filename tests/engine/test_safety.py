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


class Painter:
    """An engine that draws one colour."""

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
        """Draw red where the prompt says so, else its own colour."""
        return tuple(
            Painter("red" if order.prompt == "red" else self.colour).generate(order, on_step, hear)
            for order, hear in zip_longest(orders, on_previews)
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
def test_what_is_unsafe_is_found(checker, colour):
    """One unsafe picture among others is found."""
    assert checker.is_any_unsafe([plain("blue"), plain(colour, (640, 100)), plain("teal")])


@pytest.mark.parametrize("colour", ["blue", "white", "teal"])
def test_what_is_safe_passes(checker, colour):
    """A safe picture passes."""
    assert not checker.is_any_unsafe([plain(colour)])


@pytest.mark.parametrize(("score", "found"), [(0.8, False), (0.95, True), (math.nan, True)])
def test_the_threshold_decides(tmp_path, score, found):
    """Up to 0.85 passes; a score that is not a number does not."""
    checker = SafetyChecker(make_checker(tmp_path / "checker", score=score))

    assert checker.is_any_unsafe([plain("red")]) is found


def test_an_unsafe_picture_is_withheld(checker):
    """Nothing of an order leaves the engine when one of its pictures is unsafe."""
    with pytest.raises(Withheld, match="withholds the image"):
        SafetyCheckedEngine(Painter("red"), checker).generate(an_order(), lambda *_: None)


def test_nothing_is_shown_on_the_way(checker):
    """Under a checker there are no previews: what may be withheld at the end is not seen before it."""
    seen: list[object] = []
    engine = SafetyCheckedEngine(Painter("blue"), checker)
    engine.generate(an_order(), lambda *_: None, seen.append)
    engine.generate_batch([an_order()], lambda *_: None, [seen.append])

    assert seen == []


def test_an_unsafe_input_is_not_drawn_from(checker):
    """One unsafe input image among others ends the order before anything is drawn."""
    painter = Painter("blue")
    with pytest.raises(Withheld, match="input image"):
        SafetyCheckedEngine(painter, checker).generate(an_order("teal", "red"), lambda *_: None)

    assert painter.orders == []


def test_an_unsafe_picture_of_a_batch_is_withheld_alone(checker):
    """Of orders that are drawn at once the unsafe one gives nothing, and the others their pictures."""
    engine = SafetyCheckedEngine(Painter("blue"), checker)
    orders = [replace(an_order(), prompt=prompt) for prompt in ("fine", "red", "fine")]
    found = engine.generate_batch(orders, lambda *_: None)

    assert [result is None for result in found] == [False, True, False]


def test_safe_orders_are_drawn(checker):
    """What is safe passes as it is."""
    engine = SafetyCheckedEngine(Painter("blue"), checker)
    engine.warm_up()

    assert len(engine.generate(an_order("teal"), lambda *_: None).images) == 2


@pytest.mark.parametrize("kind", ["missing", "empty", "without the label", "truncated"])
def test_a_checker_that_cannot_judge_is_refused(tmp_path, kind):
    """A folder that is missing, empty, of other labels or damaged is named with its setting."""
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


def test_the_setting_crosses_to_the_engine(tmp_path):
    """The folder survives the way to the engine's process, and so does its absence."""
    for tuning in (Tuning(), Tuning(safety_checker=tmp_path)):
        assert Tuning.from_json(tuning.to_json()) == tuning
