"""The encoders of e4e and pSp for training: new, or initialised from a file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Ge
from torch import Tensor

from idinvert.annotations import Norm, PathText, PositiveInt
from idinvert.checkpoints.checkpoint import one_error
from idinvert.checkpoints.families.encoder4editing import body_table, read_encoder, state_of
from idinvert.checkpoints.families.family import unwrapped
from idinvert.checkpoints.formats.archive import Archive
from idinvert.checkpoints.formats.read import read_archive
from idinvert.checkpoints.release import FORMAT, load_network
from idinvert.checkpoints.strict_loading import StrictStateDict, load, text_keys
from idinvert.errors import CheckpointError, ConfigError
from idinvert.networks.irse import IRSE50
from idinvert.networks.psp_encoder import E4eEncoder, PspEncoder

StyleEncoder = TypeVar("StyleEncoder", E4eEncoder, PspEncoder)
_BODY, _ENCODER, _COUNTER = "input_layer.0.weight", "encoder.", ".num_batches_tracked"


def _maker(made: type[E4eEncoder] | type[PspEncoder]) -> Callable[..., Any]:
    """Returns a factory of this class of encoders; its signature is the schema of their keys."""

    def make(
        *,
        num_layers: int,
        w_dim: int,
        latent: str = "w_plus",
        offset: bool = True,
        deltas: bool = False,
        mapping: dict[str, Any] | None = None,
        noise_shapes: Sequence[tuple[int, int]] = (),
        path: PathText | None = None,
        key: str = "encoder.path",
        input_size: Annotated[int, Ge(32)] = 256,
        input_height: PositiveInt | None = None,
        channels: PositiveInt = 64,
        units: Sequence[int] = IRSE50,
        reduction: PositiveInt = 16,
        norm: Norm = "batch",
    ) -> E4eEncoder | PspEncoder:
        """Builds the authors' encoder, ready to train.

        Args:
            num_layers: As in the encoder's class, like all others not listed below.
            deltas: Refused by pSp, which predicts each layer's code separately; e4e always has it.
            mapping: M of the generator, which ``latent=z`` would need; refused.
            noise_shapes: Ignored, because the encoder predicts no noise.
            path: Initial weights: the authors' ``.pt``, this project's ``encoder.safetensors``, or
                ``model_ir_se50.pth``, the face recognition network whose body the authors start
                from; None for random weights.
            key: The config key that named the file, for messages.

        Raises:
            CheckpointError: The file is not readable, or does not match.
            ConfigError: As in the class; or ``latent=z``, or pSp with ``latent=deltas``.
        """
        if mapping is not None:
            raise ConfigError(
                f"encoder={made.name} predicts style codes, and latent=z asks for z. Use "
                "latent=w_plus."
            )
        if deltas and made is PspEncoder:
            raise ConfigError(
                "encoder=psp gives every layer a code of its own, and latent=deltas asks for steps "
                "from one code. Use encoder=e4e, or latent=w_plus."
            )
        encoder = made(
            num_layers=num_layers,
            w_dim=w_dim,
            latent=latent,
            offset=offset,
            input_size=input_size,
            input_height=input_height,
            channels=channels,
            units=units,
            reduction=reduction,
            norm=norm,
        )
        return encoder if path is None else start(encoder, path, key=key)

    make.__name__ = make.__qualname__ = made.name
    return make


e4e, psp = _maker(E4eEncoder), _maker(PspEncoder)


def start(encoder: StyleEncoder, path: str | Path, *, key: str) -> StyleEncoder:
    """Copies a file's weights into an encoder; for the kinds of files see ``path`` of `e4e`.

    Args:
        encoder: Changed in place; it keeps its own mode, gradients and mean code.
        path: The file.
        key: The config key that named it.

    Returns:
        The encoder.

    Raises:
        CheckpointError: The file is not readable, or does not match.
    """
    path = Path(path).expanduser()
    with one_error(path, key=key):
        return _started(encoder, read_archive(path, key=key), path, key=key)


def _started(encoder: StyleEncoder, archive: Archive, path: Path, *, key: str) -> StyleEncoder:
    if content := unwrapped(archive.content, lambda state: _BODY in state):
        encoder.body.load_state_dict(_body(encoder, content, path, key=key))
        return encoder
    found = _whole(archive, encoder, key=key)
    if type(found) is not type(encoder):
        raise CheckpointError(
            f"{path}: holds a {type(found).__name__}, expected a {type(encoder).__name__}; change "
            f"encoder or {key}"
        )
    what = (
        f"{path}, an encoder with the architecture {found.architecture} where this one has "
        f"{encoder.architecture}"
    )
    state = StrictStateDict(found.state_dict(), what=what, key=f"encoder or {key}")
    own = encoder.state_dict()
    theirs = {n: state.take(n, shape=value.shape, dtype=value.dtype) for n, value in own.items()}
    state.finish()
    encoder.load_state_dict(theirs | {"w_offset": own["w_offset"]})
    return encoder


def _body(
    encoder: E4eEncoder | PspEncoder, content: dict[str, Any], path: Path, *, key: str
) -> dict[str, Tensor]:
    """Returns the body's tensors of a face recognition network, without its head."""
    state = StrictStateDict(content, what=f"{path} (IR-SE50)", key=key)
    unused = [n for n in state.names() if n.startswith("output_layer.") or n.endswith(_COUNTER)]
    state.drop(unused)
    made = type(encoder.body)
    made_with: dict[str, Any] = encoder.architecture
    settings = {name: made_with[name] for name in ("channels", "units", "reduction")}
    table = {native.removeprefix("body."): source for native, source in body_table().items()}
    norm = "batch" if made_with["norm"] == "none" else made_with["norm"]
    own = load(lambda: made(**settings, norm=norm), table, state).state_dict()
    return {name: own[name] for name in encoder.body.state_dict()}


def _whole(archive: Archive, encoder: E4eEncoder | PspEncoder, *, key: str) -> Any:
    """Returns the encoder in this project's file, or in one of the authors' files."""
    if archive.metadata.get("format") == FORMAT:
        return load_network(archive.path, key=key, expect="encoder")
    tensors = {
        name.removeprefix(_ENCODER): value
        for name, value in state_of(archive.content).items()
        if name.startswith(_ENCODER)
    }
    opts = text_keys(text_keys(archive.content).get("opts"))
    return read_encoder(
        tensors,
        opts={**opts, "start_from_latent_avg": False},  # the run's own generator gives the mean
        key=key,
        what=f"{archive.path}, encoder",
        num_layers=encoder.num_layers,
    )
