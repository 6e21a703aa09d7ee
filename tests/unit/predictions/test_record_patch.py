"""The part of a record that a change touches."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.predictions.record_patch import patch_in_place, patch_to_end


@pytest.mark.parametrize(
    ("old", "new", "offset", "part"),
    [
        (b'{"a":1,"b":2}', b'{"a":1,"b":3}', 11, b"3"),
        (b'{"a":1}', b'{"a":1,"b":3}', 6, b',"b":3}'),
        (b'{"a":1,"b":2}', b'{"a":1}', 6, b"}      "),
    ],
)
def test_only_the_difference_is_written(old, new, offset, part):
    """An equal beginning is never written, an equal end only if the record gets longer."""
    patch = patch_in_place(old, new)

    assert (patch.offset, patch.part) == (offset, part)


TEXTS = st.dictionaries(st.sampled_from("abc"), st.text(max_size=3)).map(
    lambda values: json.dumps(values).encode()
)


@given(TEXTS, TEXTS)
def test_patches_give_the_new_record(old, new):
    """What Redis holds after a patch is the record that the patch names, and reads as the new one."""
    offset, part, record = patch_in_place(old, new)
    written = old[:offset] + part + old[offset + len(part) :]
    assert written == record
    assert json.loads(record) == json.loads(new)

    offset, part, record = patch_to_end(old, new)
    assert old[:offset] + part == record == new
