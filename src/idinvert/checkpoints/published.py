"""Checkpoints that others publish: where, under which licence, and how far that is known.

Names and addresses were read in the publishers' READMEs; none of the files could be downloaded when
this was written. None of these publishers states a sha256, and few a size: both are empty here
until somebody who has the file tells. Nothing is guessed.
"""

from idinvert.checkpoints.registry import Entry

_MIT = "MIT (the repository's; none is stated for the weights)"
_NVIDIA = "NVIDIA Source Code License, non-commercial (the repository's)"
_BY_NC = "CC BY-NC 4.0 (NVIDIA)"
_ADA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/"
_NGC = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan2/versions/1/files/"
_TF = "StyleGAN multi-w E, G, D and Gs, TensorFlow pickle (genforce/idinvert)"
_TORCH = "StyleGAN multi-w, {} alone (genforce/idinvert_pytorch)"
_E4E = "e4e encoder with its StyleGAN2, no D (omertov/encoder4editing)"


def drive(file_id: str) -> str:
    """The address at which Google Drive gives out a file, or a page that asks to confirm."""
    return f"https://drive.google.com/uc?export=download&id={file_id}"


def _entry(name: str, filename: str, url: str, licence: str, purpose: str) -> Entry:
    return Entry(
        name=name,
        filename=filename,
        url=url,
        sha256="",
        licence=licence,
        megabytes=None,
        purpose=purpose,
    )


def _idinvert() -> list[Entry]:
    pickles = {
        "face": ("styleganinv_face_256.pkl", "13sCLAduVQA1CxnFMpfBVsogAiZzW3edI", "FFHQ"),
        "tower": ("styleganinv_tower_256.pkl", "1USfaSLor5d71IRoC8CWTbKJagS0-MJEv", "LSUN Tower"),
        "bedroom": (
            "styleganinv_bedroom_256.pkl",
            "1nRa4WAE1qF_j1CtH32hxjREK0o-rpucD",
            "LSUN Bedroom",
        ),
    }
    ported = {
        "face": ("ffhq", "1SjWD4slw612z2cXa3-n38JwKZXqDUerG", "1gij7xy05crnyA-tUTQ2F3yYlAlu6p9bO"),
        "tower": (
            "tower",
            "1lI_OA_aN4-O3mXEPQ1Nv-6tdg_3UWcyN",
            "1Pzkgdi3xctdsCZa9lcb7dziA_UMIswyS",
        ),
        "bedroom": (
            "bedroom",
            "1ka583QwvMOtcFZJcu29ee8ykZdyOCcMS",
            "1ebuiaQ7xI99a6ZrHbxzGApEFCu0h0X2s",
        ),
    }
    entries = [
        _entry(f"idinvert_{name}", filename, drive(file_id), _MIT, f"{data} 256: {_TF}")
        for name, (filename, file_id, data) in pickles.items()
    ]
    for name, (stem, generator, encoder) in ported.items():
        for role, file_id in (("generator", generator), ("encoder", encoder)):
            entries.append(
                _entry(
                    f"idinvert_pytorch_{name}_{role}",
                    f"styleganinv_{stem}256_{role}.pth",
                    drive(file_id),
                    _MIT,
                    f"{pickles[name][2]} 256: {_TORCH.format(role)}",
                )
            )
    entries.append(
        _entry(
            "idinvert_pytorch_vgg16",
            "idinvert_vgg16.pth",
            drive("1qQ-r7MYZ8ZcjQQFe17eQfJbOAuE3eS0y"),
            _MIT,
            "Keras' VGG16 as a perceptual network (genforce/idinvert_pytorch)",
        )
    )
    return entries


def _encoders() -> list[Entry]:
    e4e = {
        "ffhq": "1cUv_reLE6k3604or78EranS7XzuVMWeO",
        "cars": "17faPqBce2m1AQeLCLHUVXaDfxMRU2QcV",
        "horse": "1TkLLnuX86B_BMo2ocYD0kX9kWh53rUVX",
        "church": "1-L0ZdnQLwtdy6-A_Ccgq5uNJGTqE7qBa",
    }
    return [
        *(
            _entry(f"e4e_{data}", f"e4e_{data}_encode.pt", drive(file_id), _MIT, f"{data}: {_E4E}")
            for data, file_id in e4e.items()
        ),
        _entry(
            "psp_ffhq",
            "psp_ffhq_encode.pt",
            drive("1bMTNWkh5LArlaWSc_wa8VKyq2V42T2z0"),
            _MIT,
            "FFHQ 1024: pSp encoder with its StyleGAN2, no D (eladrich/pixel2style2pixel)",
        ),
    ]


def _stylegan() -> list[Entry]:
    one = {
        "ffhq": ("karras2019stylegan-ffhq-1024x1024.pkl", "1MEGjdvVpUsu1jB4zrXZN7Y4kBBOzizDQ"),
        "bedroom": ("karras2019stylegan-bedrooms-256x256.pkl", "1MOSKeGF0FJcivpBI7s63V9YHloUTORiF"),
    }
    entries = [
        _entry(
            f"stylegan_{name}",
            filename,
            drive(file_id),
            _BY_NC,
            f"{name}: StyleGAN G, D and Gs, TensorFlow pickle (NVlabs/stylegan)",
        )
        for name, (filename, file_id) in one.items()
    ]
    for name in ("ffhq", "metfaces", "afhqcat", "afhqdog", "afhqwild", "brecahad", "cifar10"):
        entries.append(
            _entry(
                f"stylegan2_ada_{name}",
                f"stylegan2-ada-{name}.pkl",
                f"{_ADA}{name}.pkl",
                _NVIDIA,
                f"{name}: StyleGAN2 G, D and G_ema (NVlabs/stylegan2-ada-pytorch)",
            )
        )
    for size in (1024, 512, 256):
        filename = f"stylegan2-ffhq-{size}x{size}.pkl"
        entries.append(
            _entry(
                f"stylegan2_ffhq_{size}",
                filename,
                f"{_NGC}{filename}",
                _NVIDIA,
                f"FFHQ {size}: StyleGAN2 (listed in NVlabs/stylegan3)",
            )
        )
    entries.append(
        _entry(
            "stylegan2_ffhq_rosinality",
            "stylegan2-ffhq-config-f.pt",
            drive("1EM87UquaoQmk17Q8d5kYIAHqu0dkYqdT"),
            "NVIDIA Source Code License, non-commercial (of the weights that were converted)",
            "FFHQ 1024: StyleGAN2 converted for rosinality's port (linked by e4e and pSp)",
        )
    )
    return entries


CHECKPOINTS = {entry.name: entry for entry in (*_idinvert(), *_encoders(), *_stylegan())}
"""By name; `idinvert.checkpoints.registry.ENTRIES` holds what the code itself asks for."""
