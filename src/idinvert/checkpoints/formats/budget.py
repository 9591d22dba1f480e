"""What reading one file may cost; honest files stay far below.

Memory, processor time and wall-clock time are limits of the process (`child`). These counts are
for what would only show in the process that asked: the size of the answer.
"""

from idinvert.errors import CheckpointError

_VALUES = 1_000_000  # a training checkpoint with its optimizers takes 100,000
_NUMBER_KEYS = 8_000  # dict keys whose hashes a file can choose; text is hashed with a secret
_CLASSES = 500  # of modules; a network has about twenty
_REPEATS = 8  # G, D, G_ema and optimizers may look at the same bytes, but not without end
_FREE_BYTES = 32 << 20  # what a small file may unpack to


def answer_bytes(size: int) -> int:
    """How many bytes of tensors, arrays and text a file of ``size`` bytes may unpack to."""
    return _REPEATS * size + _FREE_BYTES


class Budget:
    """Counts down while a file is read."""

    def __init__(self) -> None:
        self.start(0)

    def start(self, size: int) -> None:
        """Begins a file of so many bytes."""
        self.size = size
        self.bytes = answer_bytes(size)
        self.values = _VALUES
        self.number_keys = _NUMBER_KEYS
        self.classes = _CLASSES

    def spend_bytes(self, count: int) -> None:
        """Pays for tensors, arrays, text, and decompressed or decoded bytes."""
        self.bytes -= count
        if self.bytes < 0:
            raise CheckpointError(
                f"unpacks to far more data than its {self.size:,} bytes (a bomb, or damaged), "
                "expected about what is in the file"
            )

    def spend_values(self, count: int) -> None:
        """Pays for values of the tree, those that are shared each time they are reached."""
        self.values = _left(self.values - count, f"unpacks to more than {_VALUES:,} values")

    def spend_number_keys(self, count: int) -> None:
        """Pays for dict keys and set members that are not text."""
        self.number_keys = _left(
            self.number_keys - count, f"has more than {_NUMBER_KEYS:,} dict keys that are not text"
        )

    def spend_classes(self, count: int) -> None:
        """Pays for names that stand for the classes of modules."""
        self.classes = _left(self.classes - count, f"names more than {_CLASSES} classes of modules")


def _left(count: int, reason: str) -> int:
    if count < 0:
        raise CheckpointError(f"{reason}, expected far fewer of a checkpoint")
    return count
