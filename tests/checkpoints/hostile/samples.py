"""Valid tiny files of every container, which mutations start from."""

import argparse
import collections
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from idinvert.checkpoints.formats.archive import Stored
from tests.checkpoints import tiny
from tests.checkpoints.every_family import wrapped
from tests.checkpoints.families import (
    genforce_stylegan2_files,
    idinvert_encoder_files,
    nvlabs_files,
    rosinality_files,
    stylegan_files,
    tf_stylegan2_files,
)

from .foreign import nvlabs_pickle, pickled, tensorflow_pickle


def containers() -> dict[str, bytes]:
    """Content by name."""
    content = mixed()
    found = {
        "torch zip": saved(content),
        "torch stream": saved(content, _use_new_zipfile_serialization=False),
        "npy": numpy_saved(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "npy of a dict": numpy_saved({"boundary": np.ones((1, 2, 3)), "layers": [0, 1]}),
        "npy of objects": numpy_saved(np.array([[1, None], ["x", 2.0]], dtype=object)),
        "npz": numpy_zipped(np.savez),
        "npz packed": numpy_zipped(np.savez_compressed),
        "safetensors": save({"w": torch.ones(2, 3), "b": torch.ones(3).bool()}, {"format": "x"}),
        "TensorFlow, Python 2": tensorflow_pickle(python2=True),
    }
    for protocol in range(6):
        found[f"pickle {protocol}"] = pickle.dumps(content, protocol)
    for protocol in (2, 4):
        found[f"NVlabs {protocol}"] = nvlabs_pickle(protocol=protocol)
        found[f"TensorFlow {protocol}"] = tensorflow_pickle(protocol=protocol)
    return found


def mixed() -> dict[str, Any]:
    """One of everything that checkpoints hold."""
    base = torch.arange(12, dtype=torch.float32).reshape(4, 3)
    return {
        "g_ema": collections.OrderedDict(weight=base, turned=base.t(), part=base[1:3, 1:]),
        "types": [base.half(), base.bfloat16(), base > 3, base.long(), torch.tensor(3.0)],
        "parameter": torch.nn.Parameter(base[0].clone()),
        "expanded": base[0].expand(5, 3),
        "empty": torch.empty(0, 4),
        "args": argparse.Namespace(size=8, path=Path("/a/b"), lr=[1e-4, 2], flag=None),
        "array": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "number": np.float64(0.5),
        "shape": base.shape,
        "device": torch.device("cuda", 1),
        "dtype": torch.float32,
        "state": collections.defaultdict(list, {"a": [1, -2, 10**12]}),
        "bytes": bytes(range(256)) * 3,
        "names": {"x", "y"},
        3: (True, 2 + 1j),
    }


def saved(content: Any, **options: Any) -> bytes:
    """As `torch.save` writes it."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def numpy_saved(content: Any) -> bytes:
    """As `numpy.save` writes it."""
    buffer = io.BytesIO()
    np.save(buffer, content, allow_pickle=True)
    return buffer.getvalue()


def numpy_zipped(write: Any) -> bytes:
    """As `numpy.savez` and `numpy.savez_compressed` write GANSpace's components."""
    buffer = io.BytesIO()
    write(
        buffer, lat_comp=np.ones((2, 1, 4)), lat_mean=np.zeros((1, 4)), names=np.array(["a", "b"])
    )
    return buffer.getvalue()


def families(place: Path) -> dict[str, bytes]:
    """Tiny checkpoints of every family, by name; ``place`` is a folder for files in passing."""
    old = {"_use_new_zipfile_serialization": False}  # no checksums: damage gets further
    found = {
        "release": (tiny.bundle(place / "b", "generator") / "generator.safetensors").read_bytes(),
    }
    for name, content in family_contents().items():
        if holds_stored(content):
            found[name] = pickled(content)
        else:
            found[name] = saved(content, **old)
            found[f"{name} (zip)"] = saved(content)
    return found


def family_contents() -> dict[str, Any]:
    """What the files hold."""
    rosinality, networks = rosinality_files.Rosinality(), nvlabs_files.NVlabs(channels=(4, 3))
    generators = {
        name: stylegan_files.Genforce(seed=seed).g
        for seed, name in enumerate(("generator", "generator_smooth"))
    }
    own = {"generator": tiny.generator(3), "average": tiny.generator(4)}
    return {
        "rosinality": rosinality.content(),
        "NVlabs": {
            "G_ema": networks.stored(networks.g, name="Generator"),
            "D": networks.stored(networks.d, name="Discriminator"),
        },
        "NVlabs, plain": networks.plain(),
        "genforce StyleGAN": generators,
        "genforce StyleGAN2": genforce_stylegan2_files.Genforce(hammer=False).content(),
        "TF StyleGAN": stylegan_files.TFStyleGAN().content(),
        "TF idinvert, A": idinvert_encoder_files.tuple_of("A"),
        "TF idinvert, C": idinvert_encoder_files.tuple_of("C"),
        "TF StyleGAN2": tf_stylegan2_files.TFStyleGAN2().content(),
        "idinvert generator": stylegan_files.Idinvert().g,
        "idinvert encoder": idinvert_encoder_files.IdinvertEncoder("B").e,
        "e4e": wrapped("Encoder4Editing"),
        "pSp": wrapped("GradualStyleEncoder"),
        "genforce StyleGAN2, Hammer": genforce_stylegan2_files.Genforce(hammer=True).content(),
        "Lightning": {
            "pytorch-lightning_version": "2.6.0",
            "state_dict": {
                f"{name}.{key}": value
                for name, network in own.items()
                for key, value in network.state_dict().items()
            },
            "idinvert_networks": {
                "generator": {
                    "class": "StyleGAN2Generator",
                    "architecture": own["generator"].architecture,
                }
            },
        },
    }


def holds_stored(content: Any) -> bool:
    """Whether an object of another class is in it, so that torch cannot have written it."""
    parts = list(content.values()) if isinstance(content, dict) else content
    if isinstance(parts, list | tuple):
        return any(holds_stored(part) for part in parts)
    return isinstance(content, Stored)
