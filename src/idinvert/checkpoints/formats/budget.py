"""What reading one file may cost: bounds that honest files stay far below."""

from idinvert.errors import CheckpointError

MAX_DEPTH = 128
"""Containers within containers; a generator of NVlabs' is about 20 deep."""

_STEPS = 1_000_000  # about a second; a training checkpoint with its optimisers takes 100,000
_NODES = 2_000_000  # of the finished tree, with what is shared counted each time
_NUMBER_KEYS = 8_000  # dict keys whose hashes a file can choose; text is hashed with a secret
_REPEATS = 8  # G, D, G_ema and optimisers may look at the same bytes, but not without end
_FREE_BYTES = 32 << 20  # what a small file may unfold to

SHOWN = 80  # characters of a file's own text in a message


class Budget:
    """Counts down while a file is read; nested payloads share the budget of their file.

    Args:
        size: Bytes of the file: tensors and arrays may take eight times as many, and 32 MB.
    """

    def __init__(self, *, size: int) -> None:
        self.size = size
        self.steps = _STEPS
        self.bytes = _REPEATS * size + _FREE_BYTES
        self.nodes = _NODES
        self.number_keys = _NUMBER_KEYS

    def spend_steps(self, count: int) -> None:
        """Pays for work: opcodes, and entries of containers that are built at once."""
        self.steps -= count
        if self.steps < 0:
            raise CheckpointError(
                f"takes more than {_STEPS:,} steps to read, expected far fewer of a checkpoint"
            )

    def spend_bytes(self, count: int) -> None:
        """Pays for memory beyond the file's own: tensors, arrays, decompressed or decoded bytes."""
        self.bytes -= count
        if self.bytes < 0:
            raise CheckpointError(
                f"unfolds to far more data than its {self.size:,} bytes (a bomb, or damaged), "
                "expected about what is in the file"
            )

    def spend_nodes(self, count: int) -> None:
        """Pays for values of the finished tree."""
        self.nodes -= count
        if self.nodes < 0:
            raise CheckpointError(
                f"unfolds to more than {_NODES:,} values (shared ones counted each time), expected "
                "far fewer of a checkpoint"
            )

    def spend_number_keys(self, count: int) -> None:
        """Pays for dict keys and set members that are not text."""
        self.number_keys -= count
        if self.number_keys < 0:
            raise CheckpointError(
                f"has more than {_NUMBER_KEYS:,} dict keys that are no text, expected names"
            )


def shown(text: object) -> str:
    """A file's own text, fit for a message: short, and ASCII."""
    plain = ascii(text[: SHOWN + 1]) if isinstance(text, str) else f"a {type(text).__name__}"
    return plain if len(plain) <= SHOWN else f"{plain[:SHOWN]}…"
