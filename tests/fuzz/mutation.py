"""A Hypothesis strategy that damages valid files: it flips, cuts, overwrites, repeats and splices bytes."""

from typing import Any

from hypothesis import strategies as st

HEAD = 400  # bytes; most headers end before it
SPECIAL_BYTES = [b"", b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\1", b"\xff\xfe"]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, good: list[bytes]) -> bytes:
    """Damage one of several valid files in one to four places."""
    data = bytearray(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(1, 4))):
        _damage(draw, data, good)
    return bytes(data)


def _damage(draw: st.DrawFn, data: bytearray, good: list[bytes]) -> None:
    most = len(data)
    at = draw(st.integers(0, min(HEAD, most)) | st.integers(0, most))
    span: Any = st.integers(0, 8) | st.integers(0, most)
    match draw(st.sampled_from(["flip", "put", "overwrite", "cut", "end", "repeat", "splice"])):
        case "flip" if at < most:
            data[at] ^= 1 << draw(st.integers(0, 7))
        case "put":
            data[at:at] = draw(st.sampled_from(SPECIAL_BYTES) | st.binary(max_size=20))
        case "overwrite":
            new = draw(st.sampled_from(SPECIAL_BYTES) | st.binary(max_size=8))
            data[at : at + len(new)] = new
        case "cut":
            del data[at : at + draw(span)]
        case "end":
            del data[at:]
        case "repeat":
            data[at:at] = data[at : at + draw(span)] * draw(st.integers(1, 5))
        case "splice":
            other = draw(st.sampled_from(good))
            data[at:] = other[draw(st.integers(0, len(other))) :]
