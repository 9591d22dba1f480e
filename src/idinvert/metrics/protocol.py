"""The protocol of each metric in one line, as records store it."""

import importlib.metadata
import re

from idinvert.errors import ConfigError

_FIDELITY = "torch-fidelity {torch-fidelity}"
_KERNEL = "unbiased MMD2, cubic kernel"
_EXACT = {
    "mse": "mean over pixels and channels in [-1, 1], mean over images; outputs clamped",
    "psnr": "10 log10(4 / mse) per image in dB, mean over images; outputs clamped",
    "ssim": "Gaussian 11x11 sigma 1.5, images in [0, 1], data_range 1, windows inside the image, "
    "mean over channels, pixels and images; outputs clamped",
    "swd": "PGGAN protocol: Laplacian pyramid to 16 px, 128 7x7 patches a level and image, "
    "4x128 directions, x1e3, mean of levels; uint8",
    "fid": f"{_FIDELITY}, inception-v3-compat 2048, both sets n images, uint8",
    "kid": f"{_FIDELITY}, inception-v3-compat 2048, {_KERNEL}, 100 subsets of min(1000, n), uint8",
    "isc": f"{_FIDELITY}, inception-v3-compat, 10 splits, of the outputs, uint8",
    "prc": f"{_FIDELITY}, VGG16 fc2_relu, 3 nearest neighbours, both sets n images, uint8",
    "agreement": "mean over the binary attributes of the share of images that agree",
    "correlation": "mean over the continuous attributes of the Pearson correlation",
    "seconds_per_image": "batch 1, warm, synchronised, median",
}
_PATTERNS = {
    r"swd_\d+": "swd of this level of the pyramid",
    r"lpips_(?P<net>alex|vgg|squeeze)": "lpips {lpips} version 0.1, {net} backbone, "
    "float in [-1, 1]; outputs clamped",
    r"fd_(?P<extractor>\w+)": "Frechet distance (not FID) on the {extractor} features, "
    f"{_FIDELITY}, both sets n images, uint8",
    r"kd_(?P<extractor>\w+)": "kernel distance (not KID) on the {extractor} features, "
    f"{_KERNEL} over all pairs, both sets n images, uint8",
    r"agreement_(?P<attribute>\w+)": "share of images whose predicted {attribute} is the label, "
    "threshold 0.5",
    r"correlation_(?P<attribute>\w+)": "Pearson correlation of predicted and labelled {attribute}",
}


def protocol(name: str, *, detail: str = "") -> str:
    """How the metric `name` was measured.

    Args:
        name: as in a record, for example `swd`, `fd_attributes`.
        detail: what else decides the number, for example a weights file's sha256; appended.

    Raises:
        ConfigError: no such metric.
    """
    base = re.sub(r"^(.*)_floor$|^(kid|isc)_std$", lambda found: found[1] or found[2], name)
    base = "prc" if base.startswith("prc_") else base
    text, values = _EXACT.get(base), {}
    for pattern, candidate in _PATTERNS.items():
        if text is None and (match := re.fullmatch(pattern, base)):
            text, values = candidate, match.groupdict()
    if text is None:
        raise ConfigError(
            f"no protocol for metric {name!r}; known: "
            f"{', '.join([*_EXACT, 'lpips_*', 'fd_*', 'kd_*'])}"
        )
    for package in ("torch-fidelity", "lpips"):
        if f"{{{package}}}" in text:
            values[package] = importlib.metadata.version(package)
    text = re.sub(r"\{([\w-]+)\}", lambda found: values[found[1]], text)
    if name.endswith("_floor"):
        text = f"{base} of two disjoint sets of real images: {text}"
    elif base != name and name.endswith("_std"):
        text = f"standard deviation of {base}: {text}"
    return f"{text}; {detail}" if detail else text
