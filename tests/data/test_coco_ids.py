"""Ids of COCO files: equal ids are equal in whatever form a tool wrote them."""

import pytest

from cxrssl.data.coco.ids import normal_id


@pytest.mark.parametrize("value", [7, 7.0, "7", "7.0", " 7 ", "7.000"])
def test_a_number_is_the_same_id_in_every_form(value: object) -> None:
    result = normal_id(value)
    assert result == 7
    assert type(result) is int


@pytest.mark.parametrize(
    "word", ["nodule", "", "007", "7a", "7.5", "1e3", "0x7", "7_0", "- 7", "\u0667", "9" * 40]
)
def test_a_word_stays_as_it_is(word: str) -> None:
    assert normal_id(word) == word


def test_numbers_below_one_are_ids_too() -> None:
    assert [normal_id(value) for value in (0, "0", -0.0, "-1", -1.0)] == [0, 0, 0, -1, -1]


@pytest.mark.parametrize("value", [None, True, [7], {"id": 7}])
def test_what_is_no_number_and_no_text_is_no_id(value: object) -> None:
    with pytest.raises(TypeError, match="neither a number nor a text"):
        normal_id(value)


@pytest.mark.parametrize("value", [1.5, float("nan"), float("inf")])
def test_a_number_that_is_not_whole_is_no_id(value: float) -> None:
    with pytest.raises(ValueError, match="not a whole number"):
        normal_id(value)
