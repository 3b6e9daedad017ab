"""Two films of a patient as the two views of an item, for `positives: patient`.

Shapes: N images of a pool, counted from 0.
Source: MICLe, arXiv 2101.05224: positive pairs are crops of two distinct images of a
patient, and of one image where there is no other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxrssl.core.errors import DataError
from cxrssl.data.cuts.two_views import TwoViews
from cxrssl.data.sampling import Visit

_DRAWN = 0x9A12


@dataclass(frozen=True)
class PatientPairs:
    """Which films of a pool are of one patient, and how a pair is cut.

    Attributes:
        cut: The views.
        patients: [N] number of each image's patient, which is that of his first image. An image of
            no known patient has a number of its own.
        films: The images of each patient, by that number.
        num_unknown: Images of no known patient.
    """

    cut: TwoViews
    patients: Sequence[int]
    films: Mapping[int, tuple[int, ...]]
    num_unknown: int

    def partner(self, visit: Visit, *, seed: int) -> int:
        """Return another image of the patient, by chance; the same image if there is none."""
        others = [film for film in self.films[self.patients[visit.row]] if film != visit.row]
        if not others:
            return visit.row
        drawn = np.random.SeedSequence((seed, visit.epoch, visit.row, visit.repeat, _DRAWN))
        return others[int(np.random.default_rng(drawn).integers(len(others)))]

    @property
    def num_single(self) -> int:
        """Patients of one film, images of no known patient not counted."""
        return sum(len(films) == 1 for films in self.films.values()) - self.num_unknown

    @property
    def num_pairs(self) -> int:
        """Pairs of two films of a patient."""
        return sum(len(films) * (len(films) - 1) // 2 for films in self.films.values())

    def as_json(self) -> dict[str, int]:
        """Return the record for `metrics.json`."""
        return {
            "patients": len(self.films) - self.num_unknown,
            "patients_with_one_film": self.num_single,
            "images_without_patient": self.num_unknown,
            "pairs_of_two_films": self.num_pairs,
        }

    def line(self) -> str:
        """Return it in words."""
        unknown = (
            f", and {self.num_unknown:,} images of no known patient" if self.num_unknown else ""
        )
        return (
            f"Positives are of one patient: the pool has {len(self.films) - self.num_unknown:,} "
            f"patients with {self.num_pairs:,} pairs of two films. {self.num_single:,} patients "
            f"with one film{unknown} give two views of one film."
        )


def patient_pairs(patients: Sequence[str], cut: TwoViews) -> PatientPairs:
    """Return the pairs of a pool.

    Args:
        patients: [N] the patient of each image, "" where none is known.
        cut: How views are cut.

    Raises:
        DataError: If no patient is known, or none has two films.
    """
    if not any(patients):
        raise DataError(
            "method.positives is patient, and the store knows no patient of the pool's "
            f"{len(patients):,} images. Ingest with a table that has a column patient or with "
            "--patient-from REGEX, or set method.positives to image."
        )
    first: dict[str, int] = {}
    numbers = [
        first.setdefault(patient, place) if patient else place
        for place, patient in enumerate(patients)
    ]
    films: dict[int, tuple[int, ...]] = {}
    for place, number in enumerate(numbers):
        films[number] = (*films.get(number, ()), place)
    pairs = PatientPairs(cut, numbers, films, num_unknown=list(patients).count(""))
    if len(films) == 1:
        raise DataError(
            f"method.positives is patient, and all {len(patients):,} images of the pool are of one "
            "patient: there is nothing to tell them from. Check the column patient, or the "
            "expression that was given to --patient-from."
        )
    if not pairs.num_pairs:
        raise DataError(
            f"method.positives is patient, and none of the {len(first):,} patients of the pool's "
            f"{len(patients):,} images has two of them. Set method.positives to image, which is "
            "the same here, or take a pool with several films of a patient."
        )
    return pairs
