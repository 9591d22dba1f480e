"""A table in LaTeX (booktabs), one tabular a group, measured and printed figures side by side."""

from idinvert.results.figures import (
    best,
    cautions,
    data_line,
    is_best,
    marks,
    measured,
    measured_header,
    paper_header,
    printed,
    protocol_lines,
    sources,
    steps,
)
from idinvert.results.fill import FilledTable
from idinvert.results.table import Group

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "—": "---",
    "–": "--",
    "×": r"$\times$",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "σ": r"$\sigma$",
    "λ": r"$\lambda$",
}


def to_latex(filled: FilledTable) -> str:
    """A `table*` environment; needs `\\usepackage{booktabs,graphicx}`."""
    table = filled.table
    lines = [r"\begin{table*}", r"\centering", rf"\caption{{{_caption(filled)}}}"]
    lines += [rf"\label{{tab:{table.name}}}"]
    for group in table.groups:
        lines += _tabular(filled, group)
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def escape(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(_ESCAPES.get(letter, letter) for letter in text)


def _tabular(filled: FilledTable, group: Group) -> list[str]:
    columns = filled.table.columns_of(group)
    header = [escape(f"{group.label} ({group.data})")]
    for column in columns:
        metric = filled.column(column, group)[0].metric
        header += [escape(measured_header(column, metric)), escape(paper_header(column, group))]
    lines = [r"\resizebox{\textwidth}{!}{%", rf"\begin{{tabular}}{{l{'rr' * len(columns)}}}"]
    lines += [r"\toprule", " & ".join(header) + r" \\", r"\midrule"]
    for row in filled.table.rows:
        cells = [escape(row.label)]
        for cell in filled.row(row, group):
            digits = cell.column.digits
            ours = filled.column(cell.column, group)
            text = None if cell.value is None else escape(measured(cell))
            cells.append(_bold(text, is_best(cell, ours)))
            text = None if cell.printed is None else printed(cell.printed, digits)
            cells.append(_bold(text, cell.printed == best(ours)[1]))
        lines.append(" & ".join(cells) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}}", r"\par\medskip"]


def _bold(text: str | None, bold: bool) -> str:
    if text is None:
        return "---"
    return rf"\textbf{{{text}}}" if bold else text


def _caption(filled: FilledTable) -> str:
    table = filled.table
    sentences = [f"{table.title} (scale: {table.scale}).", *table.notes]
    for group in table.groups:
        records = [c.record for c in filled.cells if c.group is group and c.value is not None]
        sentences.append(f"{group.label}: {data_line([r for r in records if r], group)}.")
        sentences += [f"{line}." for line in protocol_lines(filled, group)]
        for row in table.rows:
            for record, cells in sources(filled, row, group):
                sentences.append(
                    f"{row.label}: run {record.run}, nimg {record.nimg:,}, steps {steps(record)}, "
                    f"seed {record.seed}, n {record.n:,}, "
                    f"matched {max(cell.matched for cell in cells)}."
                )
        sentences += [f"{line}." for line in marks(filled, group)]
        sentences += [f"Caution: {line}." for line in cautions(filled, group)]
    return escape(" ".join(sentences))
