"""Where-clauses and which record wins."""

from idinvert.results.record import Record
from idinvert.results.select import Default, Within, failures, lookup, matching, nearest, preferred


def record(run: str, **changes) -> Record:
    plain = {
        "task": "reconstruction",
        "choices": {
            "objective": {"name": "domain_guided", "lambda_adv": 0.1},
            "inversion": "in_domain",
            "encoder.norm": "batch",
            "mirror": True,
        },
        "metrics": {"mse": 0.1},
        "n": 500,
        "nimg": 100,
        "data": {"name": "faces_mini"},
        "created": "2024-01-01T00:00:00.000+00:00",
        "seed": 0,
    }
    return Record(run=run, **{**plain, **changes})


def test_paths_reach_into_mappings_and_keys_with_dots():
    plain = {"a": {"b": {"c": 1}, "d.e": 2}}
    assert lookup(plain, "a.b.c") == 1
    assert lookup(plain, "a.d.e") == 2
    assert lookup(plain, "a.x.y") is None
    assert lookup(plain, "a.b.c.d") is None


def test_clauses():
    one = record("x")
    meets = [
        {"task": "reconstruction"},
        {"data.name": ["ffhq256", "faces_mini"]},
        {"choices.inversion": "in_domain"},
        {"choices.objective": "domain_guided"},  # a choice with settings goes by its name
        {"choices.objective.lambda_adv": 0.1},
        {"choices.encoder.norm": "batch"},
        {"choices.nothing": None},
        {"choices.mirror": True},
        {"n": 500.0},
    ]
    fails = [
        {"task": "interpolation"},
        {"data.name": ["ffhq256"]},
        {"choices.objective": "conventional"},
        {"choices.nothing": "x"},
        {"choices.inversion": None},
        {"choices.mirror": 1},
    ]
    assert all(failures(one, where) == [] for where in meets)
    assert all(len(failures(one, where)) == 1 for where in fails)
    assert failures(one, {"choices.objective": ["a", "b"], "n": 5}) == [
        "choices.objective is domain_guided, wanted a or b",
        "n is 500, wanted 5",
    ]


def test_most_nimg_wins_then_most_images_then_the_newest():
    old = record("old", nimg=300)
    new = record("new", nimg=300, created="2024-01-02T00:00:00.000+00:00")
    later_but_less = record("less", nimg=200, created="2025-01-01T00:00:00.000+00:00")
    trial = record("trial", nimg=300, n=8, created="2025-01-01T00:00:00.000+00:00")
    order = [found.run for found in matching([trial, new, later_but_less, old], {})]
    assert order == ["new", "old", "trial", "less"]
    twins = [record("first"), record("second")]
    assert matching(twins, {})[0] is twins[1]  # of equal age, the one written last


def test_of_distances_those_with_the_asked_reference_come_first():
    records = [
        record("a", metrics={"ssim": 0.5}),
        record("b", metrics={"swd": 1.0, "ssim": 0.4}, reference="same"),
        record("c", metrics={"swd": 2.0, "ssim": 0.3}, reference="disjoint"),
    ]
    assert [r.run for r in preferred(records, "swd", "disjoint")] == ["c", "b"]
    assert [r.run for r in preferred(records, "ssim", "disjoint")] == ["a", "b", "c"]
    assert preferred(records, "fid", "disjoint") == []


def test_nearest_fails_the_fewest_clauses():
    near, far = record("near", n=7), record("far", n=7, task="other")
    found, failed = nearest([far, near], {"task": "reconstruction", "n": 500})
    assert found is near
    assert failed == ["n is 7, wanted 500"]
    assert nearest([], {}) is None


def test_a_default_is_met_by_what_does_not_know_it_and_by_nothing_else():
    one = record("x")
    assert failures(one, {"choices.objective.lambda_adv": Default(0.1)}) == []
    assert failures(one, {"choices.objective.betas": Default([0.9, 0.99])}) == []
    assert failures(one, {"choices.objective.lambda_adv": Default(0.2)}) == [
        "choices.objective.lambda_adv is 0.1, wanted 0.2"
    ]
    off = record("y", choices={"early_stop": None, "betas": [0.9, 0.9]})
    assert failures(off, {"choices.early_stop": Default(None)}) == []
    assert failures(off, {"choices.early_stop": Default(5)}) == [
        "choices.early_stop is not set, wanted 5"
    ]
    assert failures(off, {"choices.betas": Default([0.9, 0.99])}), "a list is one value"


def test_nothing_more_may_stand_within():
    paths = frozenset(
        {"choices.objective.name", "choices.objective.lambda_adv", "choices.inversion"}
    )
    more = frozenset({*paths, "choices.encoder.norm", "choices.mirror"})
    assert failures(record("x"), {"choices": Within(more)}) == []
    assert failures(record("x"), {"choices": Within(paths)}) == [
        "choices.encoder.norm is batch, wanted not set",
        "choices.mirror is True, wanted not set",
    ]
