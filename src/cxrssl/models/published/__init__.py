"""The files that travel with every published detector; they import no cxrssl.

Importing this package tells transformers' Auto classes of them, so that where cxrssl is installed
`AutoModelForObjectDetection.from_pretrained(FOLDER)` runs no code from the folder.
"""

from transformers import AutoConfig, AutoImageProcessor, AutoModelForObjectDetection

from cxrssl.models.published.configuration_cxr_rcnn import CxrRcnnConfig
from cxrssl.models.published.image_processing_cxr import CxrImageProcessor
from cxrssl.models.published.modeling_cxr_rcnn import CxrRcnnForObjectDetection

AutoConfig.register(CxrRcnnConfig.model_type, CxrRcnnConfig)
AutoModelForObjectDetection.register(CxrRcnnConfig, CxrRcnnForObjectDetection)
AutoImageProcessor.register(CxrRcnnConfig, image_processor_classes={"pil": CxrImageProcessor})
