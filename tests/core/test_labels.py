"""The 14 findings, whatever the case they are written in."""

import pytest

from cxrssl.core.errors import DataError
from cxrssl.core.labels import FINDINGS, NO_FINDING, canonical_name, class_id


@pytest.mark.parametrize("name", ["Pulmonary Fibrosis", "pulmonary fibrosis", " ILD ", "ild"])
def test_case_and_space_around_a_name_do_not_matter(name: str) -> None:
    assert canonical_name(name) in {"Pulmonary fibrosis", "ILD"}


def test_ids_are_kaggles() -> None:
    assert len(FINDINGS) == 14
    assert (class_id("Aortic enlargement"), class_id("Pulmonary fibrosis")) == (0, 13)
    assert class_id(NO_FINDING) == 14


def test_an_unknown_class_is_named_with_what_was_expected() -> None:
    with pytest.raises(DataError, match=r"class 'Pneumonia' is not one of .*Aortic enlargement"):
        canonical_name("Pneumonia")
