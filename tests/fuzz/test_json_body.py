"""Tests that JSON bodies mean the same with and without their images in files, however they arrive."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.errors import BadBody, BodyTooLarge
from app.api.json_body import LONG_BYTES, Splitter
from app.images.scratch import Scratch

pytestmark = pytest.mark.fuzz

IMAGES = st.text('AB+/\\\n"é', min_size=1, max_size=50).map(
    lambda text: "data:image/png;base64," + text * (LONG_BYTES // len(text) + 1)
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20) | IMAGES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=6,
)


def split(body, size):
    """Return the content of a body that arrives in chunks of a size, with its images back in place."""
    scratch = Scratch()
    try:
        with scratch.folder("key") as folder:
            splitter = Splitter(folder)
            try:
                for at in range(0, len(body), size):
                    splitter.feed(body[at : at + size])
                content = splitter.parse()
            finally:
                splitter.close()
            text = json.dumps(content)
            for name, image in splitter.images.items():
                text = text.replace(json.dumps(name), image.path.read_text())
            return json.loads(text)
    finally:
        scratch.close()


@given(
    st.dictionaries(st.text(max_size=5), VALUES, max_size=4), st.integers(1, 70_000), st.booleans()
)
def test_body_means_the_same(content, size, is_ascii):
    """A body that is split anywhere has the content that it has as a whole."""
    body = json.dumps(content, ensure_ascii=is_ascii).encode()

    assert split(body, max(size, len(body) // 500)) == content


@given(
    st.binary(max_size=300) | st.text('{}[]",:\\ a1', max_size=300).map(str.encode),
    st.integers(1, 64),
)
def test_any_bytes_are_read_or_refused(body, size):
    """Any bytes are a JSON object, as for another parser, or refused."""
    try:
        content = split(body, size)
    except (BadBody, BodyTooLarge):
        return

    assert content == json.loads(body)
