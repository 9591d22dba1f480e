"""Files made to run code, to take memory or to lie: all end in one clear error, quickly."""

import os
import time

import pytest

from idinvert.checkpoints.checkpoint import open_checkpoint
from idinvert.checkpoints.formats.read import read_archive
from idinvert.errors import CheckpointError

from .bombs import bombs, shared_modules
from .crafted import attacks
from .foreign import SOURCE, nvlabs_pickle
from .opening import KEY, open_all
from .samples import containers
from .watch import watched

STOPPED = "ended with status"
SECONDS = 3.0  # of one open; about 1 s on a quiet machine


@pytest.fixture
def warm(tmp_path):
    """What Python imports on first use is imported before anything is watched."""
    open_all(containers().items(), place=tmp_path / "file")


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("kind", ["attacks", "bombs"])
def test_every_crafted_file_is_refused(kind, tmp_path, capsys):
    canary = tmp_path / "canary"
    files = list(attacks(canary) if kind == "attacks" else bombs())
    outcome = open_all(files, place=tmp_path / "file")
    with capsys.disabled():
        print(
            f"\n{len(files)} crafted {kind}: {outcome.refused['archive']} refused, "
            f"{len(outcome.events)} executions, {len(outcome.wrong)} other exceptions, "
            f"slowest {outcome.slowest[0]:.2f} s ({outcome.slowest[1]})"
        )
    assert len({name for name, _ in files}) == len(files) > 40
    assert [name for name, message in outcome.messages.items() if not message] == []
    assert outcome.opened["checkpoint"] == 0 and outcome.refused["checkpoint"] > len(files) // 2
    assert (outcome.events, outcome.wrong) == ([], []) and not canary.exists()
    assert outcome.slowest[0] < SECONDS, outcome.slowest
    for name, message in outcome.messages.items():
        assert STOPPED not in message, name  # the list of names suffices; see `test_child`
        assert str(tmp_path) in message and KEY in message and len(message) < 700, name
        assert message.isprintable(), name


def test_one_module_many_times_under_long_names(tmp_path):
    file = tmp_path / "shared.pkl"
    file.write_bytes(shared_modules("x" * 1_000_000, depth=10))
    begun = time.process_time()
    with pytest.raises(CheckpointError, match="has more than 500 characters") as caught:
        open_checkpoint(file)
    assert len(str(caught.value)) < 1000 and time.process_time() - begun < SECONDS


def test_a_refusal_names_the_global(tmp_path):
    names = ("builtins.eval", "subprocess.Popen", "torch.load", "dnnlib.util.get_obj_by_name")
    others = "os.system, protocol 4", "INST", "EXT of 1", "rebuild with another function"
    files = [file for file in attacks(tmp_path / "canary") if file[0] in (*names, *others)]
    messages = open_all(files, place=tmp_path / "file").messages
    assert f"{os.system.__module__}.system" in messages["os.system, protocol 4"]
    for name in names:
        assert f"asks for the global '{name}'" in messages[name]
        assert "not on the list of names" in messages[name]
    assert "'os.system'" in messages["INST"] and "extension code 1" in messages["EXT of 1"]
    assert "'os.system'" in messages["rebuild with another function"]


@pytest.mark.usefixtures("warm")
def test_embedded_source_is_dropped_unread(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "network.pkl"
    path.write_bytes(nvlabs_pickle())
    assert SOURCE.encode() in path.read_bytes()
    with watched() as events:
        content = read_archive(path, key=KEY).content
    assert events == [] and {file.name for file in tmp_path.iterdir()} == {"file", "network.pkl"}
    assert "module_src" not in repr(content) and "SystemExit" not in repr(content)


def test_the_watch_sees_what_it_must(tmp_path):
    with watched() as events:
        os.system("true")
        exec(compile("1", "here", "exec"))
        (tmp_path / "written").write_text("x")
        read_archive_by_pickle()
    words = " ".join(events)
    for expected in ("os.system", "compile", "exec", "open", "pickle.find_class"):
        assert expected in words
    os.system("true")
    assert " ".join(events) == words  # nothing is added afterwards


def read_archive_by_pickle() -> None:
    """What the readers never do."""
    import pickle

    pickle.loads(b"cbuiltins\nlen\n.")
