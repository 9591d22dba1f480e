"""Progress line, timing and chunks."""

import io

import pytest
import torch

from idinvert.evaluation.chunk_store import Chunks, spans
from idinvert.evaluation.inversion_module import Progress
from idinvert.evaluation.speed import counted, seconds_of, seconds_per_call
from idinvert.inversion.encoder import EncoderInverter


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_rate_counts_only_what_this_process_did():
    line = Progress(500, label="in_domain", done=100, file=io.StringIO())
    assert str(line) == "in_domain 100/500 · ? images/s · ? left"
    for seconds, completed, words in ((50, 200.4, "2.01 images/s · 02:29"), (400, 300, "0.50")):
        line.start_t -= seconds - (0 if completed == 200.4 else 50)
        line.reach(completed)
        assert f"in_domain {completed:.0f}/500 · {words}" in str(line).replace("·  ", "· ")


def test_a_file_gets_a_line_now_and_then_and_a_terminal_a_bar():
    for file, shown in ((io.StringIO(), True), (Terminal(), True), (io.StringIO(), False)):
        with Progress(10, label="inverting", file=file, shown=shown) as line:
            for done in range(1, 10):
                if shown:
                    line.last_print_t -= 10
                line.reach(done)
        text = file.getvalue()
        if not shown:
            assert text == ""
        elif file.isatty():
            assert "\r" in text and "9/10" in text
        else:
            counts = [one.split(" · ")[0] for one in text.splitlines()]
            assert counts == [f"inverting {k}/10" for k in (0, 3, 6, 9, 9)]


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
