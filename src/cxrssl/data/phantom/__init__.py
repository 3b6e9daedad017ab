"""A made, deterministic, multi-reader chest radiograph data set: the default data of every command.

`make_phantom` writes it. Boxes, classes and readers follow the real VinDr-CXR table's statistics;
the pixels are drawn. Not a model of disease: nothing measured on it says anything about patients.
"""

from cxrssl.data.phantom.dataset import PhantomSummary, make_phantom

__all__ = ["PhantomSummary", "make_phantom"]
