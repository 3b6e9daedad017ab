"""The errors a user can cause: `cli` prints their text and exits with 2.

Anything else is a bug and keeps its traceback.

A message says what was found, where, what was expected and what to do.
"""


class CxrsslError(Exception):
    """A fault that the user can mend; the text is all that is shown."""


class ArgumentError(CxrsslError, ValueError):
    """An argument of a call from Python that is none of those it may be."""


class DataError(CxrsslError):
    """A source, table, store or image that does not hold what it should."""


class RecipeError(CxrsslError):
    """A recipe, plan or `--set` that does not fit its schema."""


class RunError(CxrsslError):
    """A run folder that is missing, finished, or belongs to another recipe."""


class TransferError(CxrsslError):
    """Weights that did not arrive whole."""


class TrainingError(CxrsslError):
    """Training that cannot go on, such as a loss that is not finite."""


class HubError(CxrsslError):
    """A repository of the Hub that is missing, closed, full, unreachable, or holds other things."""
