"""The explicit list of globals that a checkpoint may name; anything else is refused by name."""

from idinvert.checkpoints.formats.arrays import ARRAYS
from idinvert.checkpoints.formats.containers import CONTAINERS
from idinvert.checkpoints.formats.machine import Name
from idinvert.checkpoints.formats.storages import TENSORS
from idinvert.checkpoints.formats.torch_legacy import load_from_bytes

_NESTED = Name("torch.storage", "_load_from_bytes", call=load_from_bytes)

ALL = CONTAINERS | ARRAYS | TENSORS | {(_NESTED.module, _NESTED.name): _NESTED}
"""By module and name."""
