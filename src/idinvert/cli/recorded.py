"""What a sweep has measured before: records by the hash of all that their figures depend on."""

from pathlib import Path

from idinvert.config.identity import digest_of
from idinvert.results.record import Record, read_records


def recorded(identity: str, path: Path) -> list[Record]:
    """The records of an evaluation that was made before; several calls' count once, the last."""
    last: dict[tuple[str, str], Record] = {}
    for record in read_records(path):
        if record.evaluation == identity:
            last[record.task, digest_of(record.choices)] = record
    return list(last.values())
