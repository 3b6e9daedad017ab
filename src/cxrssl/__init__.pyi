# The types of the names that `__init__.py` imports as they are used; a test compares the two.
from cxrssl.api.boxes import FusedBoxes as FusedBoxes
from cxrssl.api.boxes import fuse as fuse
from cxrssl.api.detector import Detections as Detections
from cxrssl.api.detector import Detector as Detector
from cxrssl.api.detector import load_detector as load_detector
from cxrssl.api.films import ingest as ingest
from cxrssl.api.films import predict as predict
from cxrssl.api.images import DecodeWarning as DecodeWarning
from cxrssl.api.images import read_dicom as read_dicom
from cxrssl.api.runs import finetune as finetune
from cxrssl.api.runs import pretrain as pretrain
from cxrssl.api.runs import recipe as recipe
from cxrssl.api.runs import reproduce as reproduce
from cxrssl.api.scores import Scores as Scores
from cxrssl.api.scores import evaluate as evaluate
from cxrssl.api.store import StoreImage as StoreImage
from cxrssl.api.store import StoreImages as StoreImages
from cxrssl.api.store import open_store as open_store
from cxrssl.core.errors import CxrsslError as CxrsslError

__version__: str
