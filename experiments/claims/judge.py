"""Judges the paper's claims by the rule of experiments/CLAIMS.md, and prints that page's tables.

python experiments/claims/judge.py
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Record = dict[str, Any]
HERE = Path(__file__).parent

MIDPOINTS, WEIGHTS = ("interpolation", 1), ("interpolation", 5)
EDITS = ("manipulation", None)
REBUILT = ("reconstruction", None)
GUIDED = ("domain_guided", "w_avg", "encoder")
CONVENTIONAL = ("conventional", "w_avg", "encoder")
NO_OFFSET = ("domain_guided", "none", "encoder")
IN_DOMAIN = ("domain_guided", "w_avg", "in_domain")
I2S = ("gan", None, "image2stylegan")
LABELS = {
    GUIDED: "domain-guided",
    CONVENTIONAL: "conventional",
    NO_OFFSET: "without it",
    IN_DOMAIN: "in-domain",
    I2S: "Image2StyleGAN",
}
"""Methods: the objective that trained the encoder (or G, without an encoder), offset, inversion."""
DIGITS = {"mse": 4, "ssim": 3, "moved": 3, "leaked": 3, "code_radius_beyond": 3}
NAMES = {
    "mse": "MSE",
    "ssim": "SSIM",
    "swd": "SWD",
    "code_radius_beyond": "share of codes beyond the furthest native sample",
}


@dataclass(frozen=True)
class Claim:
    """The claim that one method is ahead of another in one quantity.

    Attributes:
        words: The claim; the same as in the line above for another quantity of the same claim.
        where: Location in the paper.
        task: The task that measures it, and its steps.
        metric: Name of the quantity in records.
        better: The better direction: -1 smaller, 1 larger.
        first: The method that is claimed to be ahead.
        second: The other one.
    """

    words: str
    where: str
    task: tuple[str, int | None]
    metric: str
    better: int
    first: tuple[str, str | None, str]
    second: tuple[str, str | None, str]


PIXELS, SETS = {"mse": -1, "ssim": 1}, {"fd_attributes": -1, "swd": -1}
CODES = {"code_radius_beyond": -1, "code_distance": -1}
CLAIMS = [
    Claim(words, where, task, metric, better, first, second)
    for words, where, task, first, second, metrics in (
        (
            "the domain-guided encoder reconstructs better than the conventional one",
            *("Table 1", REBUILT, GUIDED, CONVENTIONAL, PIXELS),
        ),
        (
            "and its images are closer to real ones",
            *("Table 1", REBUILT, GUIDED, CONVENTIONAL, SETS),
        ),
        (
            "in-domain inversion reconstructs better than its encoder",
            *("Table 1", REBUILT, IN_DOMAIN, GUIDED, PIXELS),
        ),
        (
            "Image2StyleGAN has the lowest pixel error",
            *("Table 1", REBUILT, I2S, IN_DOMAIN, {"mse": -1}),
        ),
        (
            "but in-domain reconstructions are closer to real images",
            *("Table 1", REBUILT, IN_DOMAIN, I2S, SETS),
        ),
        (
            "in-domain interpolations are closer to real images, α = 1/2",
            *("Table 2", MIDPOINTS, IN_DOMAIN, I2S, SETS),
        ),
        (
            "the same, α from 1/6 to 5/6",
            *("Table 2", WEIGHTS, IN_DOMAIN, I2S, SETS),
        ),
        (
            "in-domain manipulations are closer to real images",
            *("Table 2", EDITS, IN_DOMAIN, I2S, SETS),
        ),
        (
            "in-domain codes can be edited: the attribute moves",
            *("Sec. 4.3", EDITS, IN_DOMAIN, I2S, {"moved": 1}),
        ),
        ("and the others stay", "Sec. 4.3", EDITS, IN_DOMAIN, I2S, {"leaked": -1}),
        (
            "in-domain codes lie in the domain, Image2StyleGAN's do not",
            *("Sec. 3", REBUILT, IN_DOMAIN, I2S, CODES),
        ),
        (
            "the mean code helps the encoder (Eq. 6)",
            *("Table 4", REBUILT, GUIDED, NO_OFFSET, PIXELS | SETS),
        ),
    )
    for metric, better in metrics.items()
]
"""The claims in the order of the page."""


def find(records: Sequence[Record], claim: Claim, method: tuple[Any, ...]) -> dict[Any, Record]:
    """Returns the records of a method for a claim, by G and by the seed of its encoder."""
    found = {}
    for record in records:
        choices = record["choices"]
        latent, task = choices.get("latent") or {}, choices.get("task") or {}
        of = (
            choices["objective"]["name"],
            latent.get("offset"),
            choices.get("inversion", {}).get("name"),
        )
        steps = task.get("steps") if record["task"] == "interpolation" else None
        if of == method and (record["task"], steps) == claim.task:
            found[record["checkpoints"]["generator"], record["seed"]] = record
    return found


def pairs(records: Sequence[Record], claim: Claim) -> Iterator[tuple[Record, Record]]:
    """Yields the first method's records, each with the second's for the same G and seed."""
    first, second = find(records, claim, claim.first), find(records, claim, claim.second)
    without_encoder = {g: r for (g, _), r in second.items() if "encoder" not in r["checkpoints"]}
    without_encoder |= {g: r for (g, _), r in first.items() if "encoder" not in r["checkpoints"]}
    for generator, seed in sorted({*first, *second}, key=lambda key: key[1]):
        alone = without_encoder.get(generator)
        one = first.get((generator, seed)) or alone
        other = second.get((generator, seed)) or alone
        if one and other and one is not other:
            yield one, other


def interval(record: Record, metric: str) -> float:
    """Returns half the width of the value's 95 % interval over images."""
    low, high = record["intervals"][metric]
    return (high - low) / 2


def verdict(found: Sequence[tuple[Record, Record]], claim: Claim) -> str:
    """Returns the verdict of the rule for a claim's pairs."""
    signs = []
    for one, other in found:
        ahead = claim.better * (one["metrics"][claim.metric] - other["metrics"][claim.metric])
        half = math.hypot(interval(one, claim.metric), interval(other, claim.metric))
        signs.append(0 if abs(ahead) <= half else math.copysign(1, ahead))
    if len(signs) >= 3 and len(set(signs)) == 1 and signs[0]:
        return "shown" if signs[0] > 0 else "refuted"
    if len(signs) == 1 and signs[0]:
        return ("supported" if signs[0] > 0 else "contradicted") + ", one seed"
    counts = (sum(sign > 0 for sign in signs), sum(sign < 0 for sign in signs))
    if len(signs) == 1 or not any(counts):
        return "undecided"
    return f"undecided ({counts[0]} of {len(signs)} for it, {counts[1]} against)"


def rounded(value: float, metric: str) -> str:
    """Formats a value with the decimals of its quantity."""
    return f"{value:.{DIGITS.get(metric, 1)}f}"


def figures(found: Sequence[Record], metric: str) -> str:
    """Formats a method's values, one per pair, or a single one if all pairs share it."""
    texts = [rounded(record["metrics"][metric], metric) for record in found]
    return texts[0] if len({id(record) for record in found}) == 1 else " / ".join(texts)


def quantity(claim: Claim, found: Sequence[Record]) -> str:
    """Returns the quantity with its direction, and the value of native codes if it was measured."""
    metric = claim.metric
    text = f"{NAMES.get(metric, metric)} {'↑' if claim.better > 0 else '↓'}"
    native = [record["metrics"].get(f"{metric}_native") for record in found]
    if None in native:
        return text
    values = dict.fromkeys(rounded(value, metric) for value in native)
    return f"{text} (native {' / '.join(values)})"


def table(records: Sequence[Record]) -> str:
    """Returns the claims that the records can judge, as a Markdown table."""
    lines = ["| claim | where | quantity | figures | against | verdict |", "|---" * 6 + "|"]
    said = ""
    for claim in CLAIMS:
        if not (found := list(pairs(records, claim))):
            continue
        first, second = zip(*found, strict=True)
        head = f"| {claim.words} | {claim.where} |" if claim.words != said else "| | |"
        said = claim.words
        ours, theirs = (
            f"{LABELS[method]}: {figures(of, claim.metric)}"
            for method, of in ((claim.first, first), (claim.second, second))
        )
        lines.append(
            f"{head} {quantity(claim, first)} | {ours} | {theirs} | {verdict(found, claim)} |"
        )
    return "\n".join(lines)


def tables(records: Sequence[Record]) -> dict[str, str]:
    """Returns a table for each domain and set of encoders, by name."""
    judged = [record for record in records if record["data"]["split"] == "test"]
    return {name: table(chosen) for name, chosen in groups(judged)}


def groups(records: Sequence[Record]) -> Iterator[tuple[str, list[Record]]]:
    """Yields each table's records: a domain's first G with all its encoders, and all its Gs."""
    for domain in dict.fromkeys(record["data"]["name"] for record in records):
        of_domain = [record for record in records if record["data"]["name"] == domain]
        generators = list(dict.fromkeys(r["checkpoints"]["generator"] for r in of_domain))
        own = {(g, i) for i, g in enumerate(generators)}
        yield domain, [r for r in of_domain if r["checkpoints"]["generator"] == generators[0]]
        if len(generators) > 1:  # the encoder of seed i was trained with the G of seed i
            yield (
                f"{domain}, {len(generators)} generators",
                [
                    record
                    for record in of_domain
                    if (record["checkpoints"]["generator"], record["seed"]) in own
                    or "encoder" not in record["checkpoints"]
                ],
            )


if __name__ == "__main__":
    lines = (HERE / "records.jsonl").read_text(encoding="utf-8").splitlines()
    for name, text in tables([json.loads(line) for line in lines]).items():
        print(f"{name}\n\n{text}\n")
