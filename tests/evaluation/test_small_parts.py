"""Progress line, timing and chunks."""

import pytest
import torch

from idinvert.evaluation.chunk_store import Chunks, spans
from idinvert.evaluation.speed import counted, seconds_of, seconds_per_call
from idinvert.inversion.encoder import EncoderInverter


def test_chunks_cover_every_image_once():
    assert spans(10, size=4) == [(0, 4), (4, 8), (8, 10)]
    items = [{"image": torch.zeros(3, 2, 2), "id": 5 + i, "name": str(i)} for i in range(10)]
    batch = Chunks(items, [(8, 10)])[0]
    assert batch["index"].tolist() == [8, 9] and batch["id"].tolist() == [13, 14]
    assert batch["name"] == ["8", "9"] and batch["image"].shape == (2, 3, 2, 2)


def test_timing_is_of_single_warm_calls_and_of_an_encoder_without_the_generator(networks):
    seen = []
    times = seconds_per_call(lambda x: seen.append(len(x)), torch.zeros(3, 3, 4, 4), warm_up=2)
    assert seen == [1] * 5 and len(times) == 3 and all(t >= 0 for t in times)
    inverter = EncoderInverter(encoder=networks.encoder)
    inverter.invert = None  # must not be called
    x = torch.zeros(2, 3, 16, 16)
    times = seconds_of(counted(inverter), inverter, generator=None, images=x)
    assert len(times) == 2 and min(times) > 0


@pytest.mark.parametrize("commit", ["1f2e", None])
def test_a_record_names_the_commit_that_trained_its_weights(subject, commit):
    from idinvert.metrics.protocol import MetricValues

    one = subject()
    header = {**one.provenance, **({"commit": commit} if commit else {})}
    record = one.replaced(provenance=header).record(
        "x", MetricValues(), n=1, device="cpu", seconds=0.0
    )
    assert record.versions.get("trained_by") == commit and record.run == "abc"
