"""Write a filled table as LaTeX (booktabs), with the same numbers and text as in Markdown."""

from idinvert.results.cells import FilledTable
from idinvert.results.tables import (
    cautions,
    data_line,
    explained,
    marks,
    measured_header,
    paper_header,
    protocol_lines,
    records_in,
    sources,
    steps,
    values,
)

GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "η": "eta",
    "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu", "ξ": "xi", "π": "pi", "ρ": "rho",
    "σ": "sigma", "τ": "tau", "φ": "varphi", "χ": "chi", "ψ": "psi", "ω": "omega", "Δ": "Delta",
    "Σ": "Sigma", "Ω": "Omega",
}  # fmt: skip
LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "—": "---",
    "–": "--",
    "×": r"$\times$",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "−": "$-$",
    "²": "$^2$",
    "…": r"\dots{}",
    **{sign: f"${sign}$" for sign in "<>|"},
    **{letter: rf"$\{name}$" for letter, name in GREEK.items()},
}


def to_latex(filled: FilledTable) -> str:
    """Return a `table*` with one tabular per group, and its notes.

    The notes follow the float, because a caption cannot break across pages. Needs
    `\\usepackage{booktabs,graphicx}`.
    """
    table = filled.table
    title = f"{table.title} (scale: {table.scale}). Data, protocols and runs: see the notes."
    lines = [r"\begin{table*}", r"\centering", rf"\caption{{{escape(title)}}}"]
    lines += [rf"\label{{tab:{table.name}}}"]
    for group in table.groups:
        columns = table.columns_of(group)
        header = [f"{group.label} ({group.data})"]
        for column in columns:
            metric = filled.column(column, group)[0].metric
            header.append(measured_header(column, metric))
            header += [] if column.ours else [paper_header(column, group)]
        lines += [
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        ]
        lines += [r"\toprule", " & ".join(map(escape, header)) + r" \\", r"\midrule"]
        body = values(filled, group, bold=r"\textbf{{{}}}".format, text=escape)
        lines += [" & ".join(line) + r" \\" for line in body]
        lines += [r"\bottomrule", r"\end{tabular}}", r"\par\medskip"]
    return "\n".join([*lines, r"\end{table*}", "", *_notes(filled)]) + "\n"


def escape(text: str) -> str:
    """Escape LaTeX's special characters."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def _notes(filled: FilledTable) -> list[str]:
    """Return the notes of a table: a paragraph on all of it, then one per group."""
    table = filled.table
    paragraphs = {rf"Table~\ref{{tab:{table.name}}}": [*table.notes, *explained(filled)]}
    for group in table.groups:
        sentences = [f"{data_line(records_in(filled, group), group)}."]
        sentences += [f"{line}." for line in protocol_lines(filled, group)]
        for row in table.rows:
            for records, cells in sources(filled, row, group):
                record, several = records[0], "s" * (len(records) > 1)
                sentences.append(
                    f"{row.label}: run{several} {', '.join(r.run for r in records)}, "
                    f"nimg {record.nimg:,}, steps {steps(record)}, "
                    f"seed{several} {', '.join(str(r.seed) for r in records)}, n {record.n:,}, "
                    f"matched {max(cell.matched for cell in cells)}."
                )
        sentences += [f"{line}." for line in marks(filled, group)]
        sentences += [f"Caution: {line}." for line in cautions(filled, group)]
        paragraphs[escape(group.label)] = sentences
    return [
        r"{\footnotesize",
        *(
            rf"\noindent\textbf{{{title}.}} {escape(' '.join(sentences))}\par"
            for title, sentences in paragraphs.items()
        ),
        "}",
    ]
