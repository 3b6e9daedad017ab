"""Which decoder a transfer syntax needs, for messages and `doctor`."""

from pydicom.pixels import decoders
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import UID, AllTransferSyntaxes

_REENCODE = (
    "store the file uncompressed or as JPEG 2000 lossless, "
    "for example with `gdcmconv --raw` or `dcmdjpeg`"
)
# The one plugin used: pydicom would try others in turn, and they do not always agree.
PLUGIN = "pylibjpeg"
# pydicom's own table is private; the decoders in it are not.
_DECODERS = {one.UID: one for one in vars(decoders).values() if isinstance(one, Decoder)}


def syntax_name(transfer_syntax_uid: str) -> str:
    """Return DICOM's name of a transfer syntax; what is none may be free text, and is not quoted.

    Args:
        transfer_syntax_uid: As the file has it.
    """
    if transfer_syntax_uid not in AllTransferSyntaxes:
        return "an unknown transfer syntax"
    return str(UID(transfer_syntax_uid).name)


def decode_advice(transfer_syntax_uid: str) -> str | None:
    """Return what to do about a transfer syntax that can't be decoded here; None if it can.

    Args:
        transfer_syntax_uid: As the file has it.
    """
    name = syntax_name(transfer_syntax_uid)
    hopeless = f"no package that cxrssl uses decodes {name}: {_REENCODE}"
    if transfer_syntax_uid not in AllTransferSyntaxes:
        return hopeless
    uid = UID(transfer_syntax_uid)
    decoder = _DECODERS.get(uid)
    if decoder is None:
        return hopeless
    if not uid.is_encapsulated or PLUGIN in decoder.available_plugins:
        return None
    for plugin in decoder.missing_dependencies:
        if plugin.startswith(PLUGIN):
            needed = plugin.partition("requires ")[2]
            return f"{name} needs {needed}: pip install 'pylibjpeg[all]'"
    return hopeless
