"""In-domain GAN inversion: train a domain-guided encoder, invert, edit and evaluate images."""

TYPE_CHECKING = False
"""Type checkers know this name. Importing `typing` takes time in which Ctrl-C is not handled."""
if TYPE_CHECKING:
    from idinvert.api import Images, Model, open_model

__version__ = "0.1.0"
__all__ = ["Images", "Model", "__version__", "open_model"]


def __getattr__(name: str) -> object:
    """Imports the Python interface (and torch) when one of its names is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'idinvert' has no attribute {name!r}")
    from idinvert import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__
