"""The files that travel with every published detector; they import no cxrssl.

Importing this package tells transformers' Auto classes of them, so that where cxrssl is installed
`AutoModelForObjectDetection.from_pretrained(FOLDER)` runs no code from the folder, and neither does
`pipeline("object-detection", model=FOLDER, trust_remote_code=False)`. Without the last argument the
pipeline asks, for it looks for a processor of videos as well and takes the folder's for one.
"""

from transformers import AutoConfig, AutoImageProcessor, AutoModelForObjectDetection

from cxrssl.models.published.configuration_cxr_fcos import CxrFcosConfig
from cxrssl.models.published.configuration_cxr_rcnn import CxrRcnnConfig
from cxrssl.models.published.image_processing_cxr import CxrImageProcessor
from cxrssl.models.published.modeling_cxr_fcos import CxrFcosForObjectDetection
from cxrssl.models.published.modeling_cxr_rcnn import CxrRcnnForObjectDetection

for _config, _network in (
    (CxrRcnnConfig, CxrRcnnForObjectDetection),
    (CxrFcosConfig, CxrFcosForObjectDetection),
):
    # A process that has opened a folder by its own code knows these names already.
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModelForObjectDetection.register(_config, _network, exist_ok=True)
    AutoImageProcessor.register(
        _config,
        # transformers takes torchvision's kind where there is one, and says so where there is not.
        image_processor_classes={"pil": CxrImageProcessor, "torchvision": CxrImageProcessor},
        exist_ok=True,
    )
