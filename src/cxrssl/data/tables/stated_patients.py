"""Patients as annotation files name them."""

from collections.abc import Iterable

PATIENT_KEYS = ("patient_id", "patient", "subject_id")
_NOT_STATED = {"", "none", "null", "nan", "unknown"}


def stated_patient(values: Iterable[object]) -> str:
    """Return the first of some values that names a patient, "" if none does.

    A name is a text or a whole number; what `is_no_patient` tells of is passed over.
    """
    for value in values:
        if isinstance(value, str | int) and not isinstance(value, bool):
            text = str(value).strip()
            if text.casefold() not in _NOT_STATED:
                return text
    return ""


def is_no_patient(value: object) -> bool:
    """Return whether a patient is stated, and is neither a text nor a whole number."""
    return isinstance(value, float | bool | list | dict)
