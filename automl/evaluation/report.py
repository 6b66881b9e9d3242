"""An evaluation as a page for people: one HTML file that needs nothing else, in light and in dark."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from google.api_core import exceptions as api
from matplotlib.figure import Figure
from rich.table import Table

from automl.evaluation.metrics import Evaluation, Figures, Mistake, confusion_matrix, curve, figures, worst_mistakes
from automl.services.service import ServiceFigures
from imaging.prepare import thumbnail

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
WORST = 10

_SIDE = 320
"""Pixels of the longer side of an embedded picture."""
_COLOURS = {"precision": "#3b82c4", "recall": "#d9822b", "F1": "#7a9a3a"}
"""Each can be read on white and on near-black."""

_EXPLAINED = (
    "<p>A picture counts as having a label if its score reaches the threshold. Precision: how many of these have it. "
    "Recall: how many of those that have it are found.</p>"
)
_CSS = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--bad:#d33}
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem;
background:light-dark(#fff,#17191c);color:light-dark(#1c1e21,#e4e6ea)}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2.2rem}
p.where,figcaption,caption{opacity:.75}p.where{margin-top:0;overflow-wrap:anywhere}
table{border-collapse:collapse;margin:.8rem 0;font-variant-numeric:tabular-nums}
caption{text-align:left;padding-bottom:.3rem}
th,td{padding:.3rem .8rem;border-bottom:1px solid var(--line);text-align:right}
th:first-child,td:first-child{text-align:left}thead th{border-bottom-width:2px}
.tables{display:flex;flex-wrap:wrap;gap:0 2.5rem}.scroll{overflow-x:auto}
.plot svg{width:100%;height:auto}.plot svg text{fill:currentColor}
.mistakes{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:1rem;padding:0;list-style:none}
.mistakes li{border:1px solid var(--line);border-radius:.5rem;overflow:hidden;background:var(--soft)}
.mistakes img{display:block;width:100%;aspect-ratio:1;object-fit:contain;background:#0002}
.mistakes div{padding:.6rem .8rem}.mistakes code{font-size:.75rem;overflow-wrap:anywhere;opacity:.75}
.warning{border-left:4px solid var(--bad);padding:.4rem .9rem;background:var(--soft)}
"""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the report says beside the scores."""

    title: str
    source: str
    """The import file."""
    everything: bool
    """Pictures that the model learned from are among them."""
    left_out: int
    """Pictures that could not be asked about."""
    own: tuple[ServiceFigures, ...]
    """The service's own figures."""


def write(evaluation: Evaluation, page: Page, file: Path, picture: Callable[[str], bytes]) -> Table:
    """Write the page; the most important figures come back as a table for a terminal.

    Args:
        evaluation: the scores.
        page: what else is said.
        file: the HTML file.
        picture: the bytes of a picture by its name; a mistake whose picture cannot be had is shown without.
    """
    sections = [
        _head(evaluation, page),
        "<h2>Precision, recall and F1</h2>",
        _EXPLAINED,
        f'<div class="plot">{_plot(evaluation)}</div>',
        f'<div class="tables">{"".join(_figures_table(evaluation, label) for label in evaluation.labels)}</div>',
        "" if evaluation.multi_label else _confusion(evaluation),
        _mistakes(worst_mistakes(evaluation, WORST), picture),
        _own(page.own),
    ]
    title = html.escape(f"{page.title}: evaluation")
    file.write_text(
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title>\n<style>{_CSS}</style>\n" + "\n".join(sections) + "\n</html>\n",
        encoding="utf-8",
    )
    return _summary(evaluation)


def _head(evaluation: Evaluation, page: Page) -> str:
    count = len(evaluation.pictures)
    right = evaluation.truth[range(count), evaluation.best].sum()
    told = [
        f"<h1>{html.escape(page.title)}</h1>",
        f'<p class="where">{html.escape(evaluation.model)}<br>{html.escape(page.source)}</p>',
        f"<p>{count:,} pictures; the best label is a right one for {int(right):,} of them ({right / count:.1%}).</p>",
    ]
    if page.everything:
        told.append(
            '<p class="warning">The model has learned from some of these pictures: use the mistakes to find wrong labels; '
            "the figures are better than new pictures will give.</p>"
        )
    if page.left_out:
        told.append(f'<p class="warning">{page.left_out:,} pictures could not be asked about and are not in here.</p>')
    return "\n".join(told)


def _figures_table(evaluation: Evaluation, label: str) -> str:
    rows = "".join(
        f"<tr><td>{found.threshold:g}</td><td>{_percent(found.precision)}</td>"
        f"<td>{_percent(found.recall)}</td><td>{_percent(found.f1)}</td></tr>"
        for found in (figures(evaluation, label, threshold) for threshold in THRESHOLDS)
    )
    true = int(evaluation.truth[:, evaluation.column(label)].sum())
    return (
        f"<table><caption><b>{html.escape(label)}</b>, {true:,} pictures</caption>"
        f"<thead><tr><th>threshold</th><th>precision</th><th>recall</th><th>F1</th></tr></thead>{rows}</table>"
    )


def _confusion(evaluation: Evaluation) -> str:
    matrix = confusion_matrix(evaluation)
    head = "".join(f"<th>{html.escape(label)}</th>" for label in evaluation.labels)
    rows: list[str] = []
    for true, label in enumerate(evaluation.labels):
        total = max(1, int(matrix[true].sum()))
        cells = "".join(
            f'<td style="background:rgb({"60 140 70" if true == said else "215 60 50"} / {0.45 * count / total:.2f})">'
            f"{count:,}</td>"
            for said, count in enumerate(matrix[true].tolist())
        )
        rows.append(f"<tr><th>{html.escape(label)}</th>{cells}</tr>")
    return (
        "<h2>What was taken for what</h2><p>Rows: the true label. Columns: the label with the highest score.</p>"
        f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead>{"".join(rows)}</table></div>'
    )


def _mistakes(mistakes: Sequence[Mistake], picture: Callable[[str], bytes]) -> str:
    if not mistakes:
        return "<h2>The worst mistakes</h2><p>There is none.</p>"
    items: list[str] = []
    for mistake in mistakes:
        true = ", ".join(mistake.picture.labels)
        scores = ", ".join(f"{html.escape(label)} {score:.3f}" for label, score in mistake.picture.scores.items())
        items.append(
            f"<li>{_image(mistake.picture.name, picture)}<div>labelled <b>{html.escape(true)}</b>, "
            f"model: <b>{html.escape(mistake.label)}</b><br>{scores}<br>"
            f"<code>{html.escape(mistake.picture.name)}</code></div></li>"
        )
    return (
        "<h2>The worst mistakes</h2><p>Where the model is surest of something else than the label says: look here for "
        f'wrong labels first.</p><ol class="mistakes">{"".join(items)}</ol>'
    )


def _image(name: str, picture: Callable[[str], bytes]) -> str:
    try:
        data = base64.b64encode(thumbnail(picture(name), _SIDE)).decode()
    except (api.GoogleAPIError, OSError, ValueError) as error:
        return f"<p>no picture: {html.escape(str(error))}</p>"
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'


def _own(own: Sequence[ServiceFigures]) -> str:
    if not own:
        return ""
    rows = "".join(
        f"<tr><td>{html.escape(each.label or 'all labels')}</td><td>{each.average_precision:.3f}</td>"
        f"<td>{'' if each.pictures is None else f'{each.pictures:,}'}</td></tr>"
        for each in own
    )
    return (
        "<h2>The service's own figures</h2><table><caption>On the test set of its own, right after training.</caption>"
        f"<thead><tr><th>label</th><th>average precision</th><th>pictures</th></tr></thead>{rows}</table>"
    )


def _plot(evaluation: Evaluation) -> str:
    count = len(evaluation.labels)
    columns = min(3, count)
    lines = -(-count // columns)
    drawing = Figure(figsize=(4.2 * columns, 3 * lines), layout="constrained")
    drawing.patch.set_alpha(0)
    axes = drawing.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[count:]:
        ax.remove()
    for label, ax in zip(evaluation.labels, axes, strict=False):
        at = curve(evaluation, label)
        thresholds = [0.0, *(each.threshold for each in at)]
        for name, values in _curves(at).items():
            # What holds at a threshold held from the next lower one on.
            ax.step(thresholds, [values[0], *values], where="pre", color=_COLOURS[name], label=name, linewidth=1.6)
        ax.patch.set_alpha(0)
        ax.set_title(label, loc="left", parse_math=False)
        ax.set_xlabel("threshold")
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1.03)
        ax.grid(alpha=0.3)
    axes[0].legend(loc="lower left", framealpha=0)
    text = io.StringIO()
    # Text stays text, in the page's own colour; the same evaluation gives the same bytes.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        drawing.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace("#000000", "currentColor")


def _curves(at: Sequence[Figures]) -> dict[str, list[float]]:
    missing = float("nan")
    return {
        "precision": [missing if each.precision is None else each.precision for each in at],
        "recall": [missing if each.recall is None else each.recall for each in at],
        "F1": [missing if each.f1 is None else each.f1 for each in at],
    }


def _summary(evaluation: Evaluation) -> Table:
    shown = (0.5, 0.8, 0.95)
    table = Table("label", "pictures", *(f"at {threshold:g}: P / R / F1" for threshold in shown))
    for column in table.columns[1:]:
        column.justify = "right"
    for label in evaluation.labels:
        found = (figures(evaluation, label, threshold) for threshold in shown)
        true = int(evaluation.truth[:, evaluation.column(label)].sum())
        cells = (" / ".join(_percent(value) for value in (each.precision, each.recall, each.f1)) for each in found)
        table.add_row(label, f"{true:,}", *cells)
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
