"""Shipped files by name."""

from pathlib import Path

import pytest

from idinvert.checkpoints import assets
from idinvert.errors import CheckpointError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    inside = tmp_path / "assets"
    (inside / "faces_mini").mkdir(parents=True)
    (inside / "faces_mini" / "generator.safetensors").write_bytes(b"g")
    (tmp_path / "outside.safetensors").write_bytes(b"o")
    monkeypatch.setattr(assets, "assets_folder", lambda: inside)
    return inside


def test_the_folder_is_inside_the_package() -> None:
    import idinvert

    assert assets.assets_folder() == Path(idinvert.__file__).parent / "assets"


def test_found(folder: Path) -> None:
    path = assets.asset("faces_mini/generator.safetensors")
    assert path.read_bytes() == b"g"


@pytest.mark.parametrize("name", ["faces_mini/encoder.safetensors", "../outside.safetensors"])
def test_an_unknown_name_lists_what_there_is(folder: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=r"encoder|outside") as caught:
        assets.asset(name)
    assert str(Path("faces_mini") / "generator.safetensors") in str(caught.value)


def test_an_empty_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "assets_folder", lambda: tmp_path)
    with pytest.raises(CheckpointError, match=r"shipped files: none"):
        assets.asset("x")
