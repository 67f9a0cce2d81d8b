"""Packed arrays: any integers come back, and those of quantized networks become small."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuroport.graph import array_storage
from neuroport.graph.array_storage import TYPES, UNFOLD, Packed, hold, narrow, pack
from tests.tiers import examples

IntArray = npt.NDArray[np.int64]
EXTREMES = (-(2**63), -(2**63) + 1, -(2**31), -256, -1, 0, 1, 254, 2**31, 2**62, 2**63 - 1)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.sampled_from(EXTREMES), st.integers(-128, 127)
)


@st.composite
def arrays(draw: st.DrawFn) -> IntArray:
    """Values of every width, with common zero bits or without, in rows of equal ones or not."""
    shape = draw(SHAPES)
    few = st.sampled_from(draw(st.lists(VALUES, min_size=1, max_size=3)))
    values = draw(hnp.arrays(np.int64, shape, elements=draw(st.sampled_from([VALUES, few]))))
    values = np.left_shift(values, draw(st.integers(0, 63)))
    for axis in range(values.ndim):
        values = np.repeat(values, draw(st.integers(1, 4)), axis)
    return values


@settings(max_examples=examples(500), deadline=None)
@given(st.lists(arrays(), max_size=4))
def test_any_integers_come_back(given_arrays: list[IntArray]) -> None:
    for values, packed in zip(given_arrays, pack(held(given_arrays)), strict=True):
        check(packed, values)
        assert packed.stored.dtype in TYPES


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(arrays(), min_size=1, max_size=4))
def test_a_file_does_not_depend_on_how_its_arrays_are_held(given_arrays: list[IntArray]) -> None:
    whole = list(pack(held(given_arrays)))
    tight = [narrow(values) for values in given_arrays]
    for values, packed in zip(given_arrays, tight, strict=True):
        check(packed, values)
        assert hold(packed).unfolded().tolist() == values.tolist()
    for again in (list(pack(tight)), list(pack(whole))):
        for one, other in zip(whole, again, strict=True):
            assert one.stored.dtype == other.stored.dtype
            assert (one.shift, one.repeat) == (other.shift, other.repeat)
            np.testing.assert_array_equal(one.stored, other.stored)


def held(values: list[IntArray]) -> list[Packed]:
    return [hold(each) for each in values]


def check(packed: Packed, values: IntArray) -> None:
    """All that a packed array tells of its values is what 64 bits tell."""
    again = packed.unfolded()
    assert (again.dtype, again.shape) == (np.int64, values.shape)
    np.testing.assert_array_equal(again, values)
    assert not again.flags.writeable
    assert (packed.size, packed.shape) == (values.size, values.shape)
    if values.size:
        assert packed.range == (int(values.min()), int(values.max()))
    assert packed.bits == int(np.bitwise_or.reduce(values, axis=None))
    np.testing.assert_array_equal(packed.nonzero(), values != 0)
    if values.ndim:
        parts = list(packed.rows())
        assert [n for part, _ in parts for n in range(part.start, part.stop)] == list(
            range(len(values))
        )
        for part, rows in parts:
            np.testing.assert_array_equal(rows, values[part])
            assert rows.dtype == np.int64


def test_rows_unfold_what_repeats_across_the_end_of_a_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once = np.arange(-12, 12).reshape(6, 4)
    monkeypatch.setattr(
        array_storage, "blocks", lambda *_: [slice(0, 4), slice(4, 8), slice(8, 18)]
    )
    check(narrow(once, (3, 2)), once.repeat(3, 0).repeat(2, 1))


def test_many_values_are_held_narrow_and_few_in_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_storage, "SMALL", 3)
    few, many = np.array([-128, 127, 0]), np.array([-128, 127, 0, 5])
    assert hold(few).stored.dtype == np.int64
    assert hold(many).stored.dtype == np.int8
    for values in (few, many):
        values[0] = 3  # what is held is a copy
        assert hold(hold(values)).unfolded().tolist() == values.tolist()
    packed = Packed(np.array([[1], [-2]], np.int8), 1, (1, 2))
    assert hold(packed) is packed
    assert hold(Packed(np.array([[1]], np.int8), 1, (1, 2))).stored.tolist() == [[2, 2]]


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(arrays(), max_size=4))
def test_no_file_unfolds_to_more_values_than_its_bytes_allow(given_arrays: list[IntArray]) -> None:
    stored = sum(packed.stored.nbytes for packed in pack(held(given_arrays)))
    assert sum(values.size for values in given_arrays) <= UNFOLD * stored


@pytest.mark.parametrize(
    ("values", "kind", "shift"),
    [
        ([0], "i1", 0),
        ([-128, 127], "i1", 0),
        ([-2, 2], "i1", 0),
        ([-256, 254], "i1", 1),
        ([-256, 255], "i2", 0),
        ([256, 512], "i1", 8),
        ([-32768, 32767], "i2", 0),
        ([2**15, 3], "i4", 0),
        ([2**31, 3], "i8", 0),
        ([-(2**63)], "i1", 63),
        ([2**62, -(2**62)], "i1", 62),
        ([-(2**63), 2**63 - 1], "i8", 0),
    ],
)
def test_type_is_the_narrowest_that_holds_the_values(
    values: list[int], kind: str, shift: int
) -> None:
    (packed,) = pack([hold(np.array(values, np.int64))])
    assert (packed.stored.dtype, packed.shift) == (np.dtype(kind), shift)


def test_kernel_of_equal_values_and_bias_of_a_channel_are_stored_once() -> None:
    rng = np.random.default_rng(0)
    other = rng.integers(-128, 128, 4000)
    kernel = np.repeat(np.repeat(rng.integers(-9, 9, (4, 3, 1, 1)), 2, 2), 3, 3)
    pooled = np.repeat(rng.integers(-9, 9, (4, 6)), 49, 1)
    bias = np.repeat(rng.integers(-999, 999, (5, 1)), 16, 1).reshape(5, 4, 4)
    found = list(pack(held([other, kernel, pooled, bias])))
    assert [packed.stored.shape for packed in found] == [(4000,), (4, 3, 1, 1), (4, 6), (5, 1, 1)]
    assert [packed.repeat for packed in found[1:]] == [(1, 1, 2, 3), (1, 49), (1, 4, 4)]


def test_values_that_almost_repeat_are_stored_as_they_are() -> None:
    values = np.zeros((4, 6), np.int64)
    values[2, 3] = 1  # rows differ from the third on, columns in the fourth
    (packed,) = pack([hold(values)])
    assert packed.repeat == (1, 1)
    values[2, 2:4] = values[3, 2:4] = 1
    values[3, 2:4] = 1
    (packed,) = pack([hold(values)])
    assert packed.repeat == (2, 2)


def test_what_repeats_most_is_stored_whole_where_the_file_would_unfold_too_far() -> None:
    """Half of 4,096 values are one value, and half of the others are four."""
    once, four = np.arange(1024), np.repeat(np.arange(256), 4)
    nothing = np.zeros(2048, np.int64)
    found = list(pack(held([once, nothing, four])))
    assert [math.prod(packed.repeat) for packed in found] == [1, 2048, 4]
    found = list(pack(held([once, nothing, nothing, nothing, four])))
    assert [math.prod(packed.repeat) for packed in found] == [1, 2048, 2048, 1, 4]


def test_size_of_what_unfolds_does_not_overflow() -> None:
    assert Packed(np.zeros((3, 1), np.int8), 0, (2**62, 2**62)).size == 3 << 124
