"""The map of codes on a tiny world, against the plane and the contour computed by hand."""

import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.evaluation import codes_map as module
from idinvert.evaluation.code_metrics import native_samples
from idinvert.evaluation.codes_map import draw_map
from idinvert.inversion.encoder import EncoderInverter
from idinvert.metrics.codes import NativeCodes
from idinvert.metrics.plane import native_contour, principal_plane

METHODS = [{"label": "E"}, {"label": "longer"}]


@pytest.fixture(autouse=True)
def known_native(monkeypatch):
    zeros, one = torch.zeros(1, 8).double(), torch.eye(8).double()[None]
    native = NativeCodes(zeros, one, 1.0, torch.ones(3).double(), torch.ones(3).double())
    monkeypatch.setattr(module, "distribution", lambda *_, **__: native)


@pytest.mark.parametrize("plane", ["all", "native"])
def test_records_say_where_codes_lie(subject, by_hand, networks, in_domain, tmp_path, plane):
    longer = subject(in_domain(noise="const"))
    context = subject(variants={"longer": longer}, out=tmp_path / "out")
    records = draw_map(context, methods=METHODS, plane=plane)
    assert [r.choices["task"]["label"] for r in records] == ["E", "longer"]
    assert [r.choices["inversion"]["name"] for r in records] == ["encoder", "in_domain"]
    native = native_samples(networks.generator, range(2000), seed=0)
    moved = longer.inverter.invert(by_hand.x, generator=networks.generator).codes
    sets = [native[:8]] if plane == "native" else [native[:8], by_hand.codes, moved]
    known = principal_plane(sets)
    contour = native_contour(known.places(native))
    for record, codes in zip(records, (by_hand.codes, moved), strict=True):
        places = known.places(codes)
        shown = torch.tensor([record.series["x"], record.series["y"]]).T
        torch.testing.assert_close(shown, places.float(), atol=1e-3, rtol=1e-3)
        outside = contour.outside(places).double().mean().item()
        assert record.metrics["outside"] == pytest.approx(outside)
        assert record.metrics["plane_share"] == pytest.approx(known.share_of(codes), abs=1e-3)
        assert record.metrics["plane_share_all"] == pytest.approx(known.share, abs=1e-3)
        assert "code_distance" in record.metrics
    assert (tmp_path / "out" / "pictures.png").stat().st_size > 10_000


def test_what_cannot_be_compared_is_refused(subject, networks):
    with pytest.raises(ConfigError, match=r"task\.methods is empty"):
        draw_map(subject(), methods=[])
    with pytest.raises(ConfigError, match="labels E, E: give each its own"):
        draw_map(subject(), methods=METHODS[:1] * 2)
    other = subject(EncoderInverter(encoder=networks.encoder), checkpoints={"generator": "34"})
    with pytest.raises(ConfigError, match=r"different generators \(E: 12, longer: 34\)"):
        draw_map(subject(variants={"longer": other}), methods=METHODS)
