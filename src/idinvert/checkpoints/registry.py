"""Registry of third-party weights (name, URL, sha256, licence), and their local location."""

from dataclasses import dataclass
from pathlib import Path

from idinvert.data.content import file_hash, weights_cache_dir
from idinvert.errors import CheckpointError, MissingWeightsError


@dataclass(frozen=True)
class Entry:
    """One file of weights that this project uses and does not ship.

    Args:
        name: Name used in the code.
        filename: Name of the file in the cache.
        url: Download URL of its publisher.
        sha256: Its sha256; only the first digits if the publisher states no more (in the file's
            name), or empty if the publisher states none.
        licence: Licence as stated by its publisher.
        megabytes: Approximate size; None if the publisher states none.
        purpose: Purpose of the weights.
    """

    name: str
    filename: str
    url: str
    sha256: str
    licence: str
    megabytes: float | None
    purpose: str


_TORCHVISION = "https://download.pytorch.org/models/"
_FIDELITY = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
_VGG_LICENCE = "CC BY 4.0 (VGG's own release); port: BSD-3-Clause (torchvision)"

ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            name="vgg16_caffe",
            filename="vgg16_features-amdegroot-88682ab5.pth",
            url=f"{_TORCHVISION}vgg16_features-amdegroot-88682ab5.pth",
            sha256="88682ab5",
            licence=_VGG_LICENCE,
            megabytes=527.8,
            purpose="the paper's perceptual loss (VGG16_Weights.IMAGENET1K_FEATURES)",
        ),
        Entry(
            name="vgg16_imagenet",
            filename="vgg16-397923af.pth",
            url=f"{_TORCHVISION}vgg16-397923af.pth",
            sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            licence="BSD-3-Clause (torchvision)",
            megabytes=527.8,
            purpose="precision and recall, LPIPS with VGG (VGG16_Weights.IMAGENET1K_V1)",
        ),
        Entry(
            name="alexnet",
            filename="alexnet-owt-7be5be79.pth",
            url=f"{_TORCHVISION}alexnet-owt-7be5be79.pth",
            sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            licence="BSD-3-Clause (torchvision)",
            megabytes=233.1,
            purpose="LPIPS with AlexNet (AlexNet_Weights.IMAGENET1K_V1)",
        ),
        Entry(
            name="squeezenet",
            filename="squeezenet1_1-b8a52dc0.pth",
            url=f"{_TORCHVISION}squeezenet1_1-b8a52dc0.pth",
            sha256="b8a52dc0",
            licence="BSD-3-Clause (torchvision)",
            megabytes=4.7,
            purpose="a small perceptual loss, fd_squeezenet, LPIPS with SqueezeNet",
        ),
        Entry(
            name="inception",
            filename="weights-inception-2015-12-05-6726825d.pth",
            url=f"{_FIDELITY}weights-inception-2015-12-05-6726825d.pth",
            sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
            licence="Apache-2.0 (torch-fidelity; ported from TensorFlow)",
            megabytes=95.6,
            purpose="fid, kid and isc (inception-v3-compat)",
        ),
    )
}
"""Networks that the code itself uses, by name."""

_MIT = "MIT (the repository's; none is stated for the weights)"
_NVIDIA = "NVIDIA Source Code License, non-commercial (the repository's)"
_NVIDIA_WEIGHTS = "NVIDIA Source Code License, non-commercial (of the weights that were converted)"
_ADA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/"
_ADA_DATA = ("ffhq", "metfaces", "afhqcat", "afhqdog", "afhqwild", "brecahad", "cifar10")
_NGC = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan2/versions/1/files/"


def drive(file_id: str) -> str:
    """Returns the URL at which Google Drive serves a file, or a page that asks for confirmation."""
    return f"https://drive.google.com/uc?export=download&id={file_id}"


def _published(
    name: str, filename: str, licence: str, purpose: str, addresses: dict[str, str]
) -> dict[str, Entry]:
    """Builds the entries of one publisher; ``{0}``, ``{1}`` … are parts of an address's key."""
    found = {}
    for key, address in addresses.items():
        parts = key.split("/")
        found[name.format(*parts)] = Entry(
            name=name.format(*parts),
            filename=filename.format(*parts),
            url=address if "://" in address else drive(address),
            sha256="",
            licence=licence,
            megabytes=None,
            purpose=purpose.format(*parts),
        )
    return found


CHECKPOINTS = (
    _published(
        "idinvert_{0}",
        "styleganinv_{0}_256.pkl",
        _MIT,
        "{1} 256: StyleGAN multi-w E, G, D and Gs, TensorFlow pickle (genforce/idinvert)",
        {
            "face/FFHQ": "13sCLAduVQA1CxnFMpfBVsogAiZzW3edI",
            "tower/LSUN Tower": "1USfaSLor5d71IRoC8CWTbKJagS0-MJEv",
            "bedroom/LSUN Bedroom": "1nRa4WAE1qF_j1CtH32hxjREK0o-rpucD",
        },
    )
    | _published(
        "idinvert_pytorch_{0}_{1}",
        "styleganinv_{2}256_{1}.pth",
        _MIT,
        "{3} 256: StyleGAN multi-w, {1} alone (genforce/idinvert_pytorch)",
        {
            "face/generator/ffhq/FFHQ": "1SjWD4slw612z2cXa3-n38JwKZXqDUerG",
            "face/encoder/ffhq/FFHQ": "1gij7xy05crnyA-tUTQ2F3yYlAlu6p9bO",
            "tower/generator/tower/LSUN Tower": "1lI_OA_aN4-O3mXEPQ1Nv-6tdg_3UWcyN",
            "tower/encoder/tower/LSUN Tower": "1Pzkgdi3xctdsCZa9lcb7dziA_UMIswyS",
            "bedroom/generator/bedroom/LSUN Bedroom": "1ka583QwvMOtcFZJcu29ee8ykZdyOCcMS",
            "bedroom/encoder/bedroom/LSUN Bedroom": "1ebuiaQ7xI99a6ZrHbxzGApEFCu0h0X2s",
        },
    )
    | _published(
        "idinvert_pytorch_{}",
        "idinvert_{}.pth",
        _MIT,
        "Keras' VGG16 as a perceptual network (genforce/idinvert_pytorch)",
        {"vgg16": "1qQ-r7MYZ8ZcjQQFe17eQfJbOAuE3eS0y"},
    )
    | _published(
        "e4e_{}",
        "e4e_{}_encode.pt",
        _MIT,
        "{}: e4e encoder with its StyleGAN2, no D (omertov/encoder4editing)",
        {
            "ffhq": "1cUv_reLE6k3604or78EranS7XzuVMWeO",
            "cars": "17faPqBce2m1AQeLCLHUVXaDfxMRU2QcV",
            "horse": "1TkLLnuX86B_BMo2ocYD0kX9kWh53rUVX",
            "church": "1-L0ZdnQLwtdy6-A_Ccgq5uNJGTqE7qBa",
        },
    )
    | _published(
        "psp_{}",
        "psp_{}_encode.pt",
        _MIT,
        "FFHQ 1024: pSp encoder with its StyleGAN2, no D (eladrich/pixel2style2pixel)",
        {"ffhq": "1bMTNWkh5LArlaWSc_wa8VKyq2V42T2z0"},
    )
    | _published(
        "stylegan_{0}",
        "karras2019stylegan-{1}.pkl",
        "CC BY-NC 4.0 (NVIDIA)",
        "{0}: StyleGAN G, D and Gs, TensorFlow pickle (NVlabs/stylegan)",
        {
            "ffhq/ffhq-1024x1024": "1MEGjdvVpUsu1jB4zrXZN7Y4kBBOzizDQ",
            "bedroom/bedrooms-256x256": "1MOSKeGF0FJcivpBI7s63V9YHloUTORiF",
        },
    )
    | _published(
        "stylegan2_ada_{}",
        "stylegan2-ada-{}.pkl",
        _NVIDIA,
        "{}: StyleGAN2 G, D and G_ema (NVlabs/stylegan2-ada-pytorch)",
        {data: f"{_ADA}{data}.pkl" for data in _ADA_DATA},
    )
    | _published(
        "stylegan2_ffhq_{0}",
        "stylegan2-ffhq-{0}x{0}.pkl",
        _NVIDIA,
        "FFHQ {0}: StyleGAN2 (listed in NVlabs/stylegan3)",
        {f"{size}": f"{_NGC}stylegan2-ffhq-{size}x{size}.pkl" for size in (1024, 512, 256)},
    )
    | _published(
        "stylegan2_ffhq_{}",
        "stylegan2-ffhq-config-f.pt",
        _NVIDIA_WEIGHTS,
        "FFHQ 1024: StyleGAN2 converted for rosinality's port (linked by e4e and pSp)",
        {"rosinality": "1EM87UquaoQmk17Q8d5kYIAHqu0dkYqdT"},
    )
)
"""Checkpoints published by others, by name.

Names and addresses were read in the publishers' READMEs; none of the files could be downloaded when
this was written. None of these publishers states a sha256, and few state a size: both are empty
here until somebody who has the file supplies them. Nothing is guessed.
"""


def locate(name: str, *, path: str | Path | None = None, key: str) -> Path:
    """Find a weights file on this machine; nothing is ever downloaded here.

    Args:
        name: A key of `ENTRIES`.
        path: A local file, taken without verification; None searches this project's cache folder,
            then torch's own, and verifies the sha256.
        key: The config key that takes a local path, for messages.

    Raises:
        MissingWeightsError: The file is not found; the message names file, URL, sha256 and key.
        CheckpointError: Unknown name, or the cached file has another sha256.
    """
    if name not in ENTRIES:
        raise CheckpointError(
            f"weights: got name {name!r}, expected one of {sorted(ENTRIES)}; change {key}"
        )
    entry = ENTRIES[name]
    if path is not None:
        local = Path(path).expanduser()
        if not local.is_file():
            raise MissingWeightsError(_missing(entry, f"{local} (from {key}) is no file", key=key))
        return local
    import torch  # here, because listing entries does not need it

    folders = (weights_cache_dir(), Path(torch.hub.get_dir()) / "checkpoints")
    for folder in folders:
        candidate = folder / entry.filename
        if candidate.is_file():
            again = f"Delete it and fetch it anew from {entry.url}"
            require_digest(candidate, entry, advice=f"{again}, or set {key} to a local file")
            return candidate
    tried = " or ".join(str(folder) for folder in folders)
    raise MissingWeightsError(_missing(entry, f"{entry.filename} is not in {tried}", key=key))


def require_digest(path: Path, entry: Entry, *, advice: str) -> None:
    """Compare a file's sha256 with the known digits, if any.

    Raises:
        CheckpointError: They differ; the message ends with the advice.
    """
    found = file_hash(path)
    if not found.startswith(entry.sha256):  # without known digits, any file passes
        raise CheckpointError(
            f"{path}: got sha256 {found[:16]}..., expected {entry.sha256[:16]}...; the file is "
            f"damaged or another one than {entry.name}. {advice}"
        )


def _missing(entry: Entry, reason: str, *, key: str) -> str:
    return (
        f"weights {entry.name!r} for {entry.purpose}: {reason}.\n"
        f"  file:    {entry.filename} ({size_in_words(entry)}, {entry.licence})\n"
        f"  url:     {entry.url}\n"
        f"  sha256:  {digest_in_words(entry)}\n"
        f"Fetch it (python -m idinvert.checkpoints fetch {entry.name}), put the file into "
        f"{weights_cache_dir()}, or set {key} to where it lies."
    )


def size_in_words(entry: Entry) -> str:
    """Return the size in megabytes, or that it is unknown."""
    return "size unknown" if entry.megabytes is None else f"{entry.megabytes:.0f} MB"


def digest_in_words(entry: Entry) -> str:
    """Return the known digits of the sha256, or that they are unknown."""
    if not entry.sha256:
        return "unknown (its publisher states none)"
    return entry.sha256 if len(entry.sha256) == 64 else f"{entry.sha256}... (the digits known)"
