"""Which decoder a transfer syntax needs, for messages and `doctor`."""

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    AllTransferSyntaxes,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
    UncompressedTransferSyntaxes,
)

from cxrssl.data.dicom import decoders

_REENCODE = (
    "store the file uncompressed or as JPEG 2000 lossless, "
    "for example with `gdcmconv --raw` or `dcmdjpeg`"
)
_CODECS: dict[str, str] = {
    **dict.fromkeys(JPEGTransferSyntaxes, decoders.JPEG),
    **dict.fromkeys(JPEGLSTransferSyntaxes, decoders.JPEG_LS),
    **dict.fromkeys(
        (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), decoders.JPEG_2000
    ),
    RLELossless: decoders.RLE,
}


def syntax_name(transfer_syntax_uid: str) -> str:
    """Return DICOM's name of a transfer syntax; what is none may be free text, and is not quoted.

    Args:
        transfer_syntax_uid: As the file has it.
    """
    if transfer_syntax_uid not in AllTransferSyntaxes:
        return "an unknown transfer syntax"
    return str(UID(transfer_syntax_uid).name)


def codec_of(transfer_syntax_uid: str) -> str | None:
    """Return the decoder of a compressed transfer syntax; None for any other.

    Args:
        transfer_syntax_uid: As the file has it.
    """
    return _CODECS.get(transfer_syntax_uid)


def decode_advice(transfer_syntax_uid: str) -> str | None:
    """Return what to do about a transfer syntax that can't be decoded here; None if it can.

    Args:
        transfer_syntax_uid: As the file has it.
    """
    name, codec = syntax_name(transfer_syntax_uid), codec_of(transfer_syntax_uid)
    if codec is None:
        if transfer_syntax_uid in UncompressedTransferSyntaxes:
            return None
        return f"no package that cxrssl uses decodes {name}: {_REENCODE}"
    if not decoders.is_available(codec):
        return (
            f"this build of imagecodecs has no {codec}, which {name} needs: "
            "pip install --force-reinstall imagecodecs"
        )
    return None
