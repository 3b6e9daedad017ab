"""Which decoder a transfer syntax needs, for messages and `doctor`."""

from pydicom.pixels import get_decoder
from pydicom.uid import UID

_REENCODE = (
    "store the file uncompressed or as JPEG 2000 lossless, "
    "for example with `gdcmconv --raw` or `dcmdjpeg`"
)
_OURS = "pylibjpeg"


def syntax_name(transfer_syntax_uid: str) -> str:
    """Return DICOM's name of a transfer syntax; what is none may be free text, and is not quoted.

    Args:
        transfer_syntax_uid: As the file has it.
    """
    uid = UID(transfer_syntax_uid)
    known = uid.is_valid and uid.name != str(uid) and uid.is_transfer_syntax
    return str(uid.name) if known else "an unknown transfer syntax"


def decode_advice(transfer_syntax_uid: str) -> str | None:
    """Return what to do about a transfer syntax that can't be decoded here; None if it can.

    Args:
        transfer_syntax_uid: As the file has it.
    """
    uid = UID(transfer_syntax_uid)
    try:
        decoder = get_decoder(uid)
    except NotImplementedError:
        return f"no package decodes {syntax_name(transfer_syntax_uid)}: {_REENCODE}"
    if not uid.is_encapsulated or _OURS in decoder.available_plugins:
        return None
    for plugin in decoder.missing_dependencies:
        if plugin.startswith(_OURS):
            needed = plugin.partition("requires ")[2]
            return f"{uid.name} needs {needed}: pip install 'pylibjpeg[all]'"
    return f"no package that cxrssl uses decodes {uid.name}: {_REENCODE}"
