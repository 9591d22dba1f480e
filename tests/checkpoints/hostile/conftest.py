"""What every test of hostile files has: a child that gives up sooner, so that tests end sooner."""

import pytest

from idinvert.checkpoints.formats import read

SECONDS = 2  # of processor time


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Three bombs take all the time that they are given."""
    usual = read.limits
    monkeypatch.setattr(read, "limits", lambda size: usual(size)._replace(processor=SECONDS))
