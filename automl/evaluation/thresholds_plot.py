"""A picture of the choice: cost and share of unclear pictures against each label's threshold."""

import io
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from automl.evaluation.thresholds import Choice, LabelChoice

KINDS = (".html", ".svg", ".png")

_COST = "#0b5394"
_UNCLEAR = "#b45f06"
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Thresholds</title>
<meta name="viewport" content="width=device-width">
<style>body{{font:16px/1.4 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}}svg{{width:100%;height:auto}}</style>
<h1>Thresholds</h1>
{svg}
</html>
"""


def plot(choice: Choice, file: Path) -> None:
    """Write the picture; the file's extension says which kind: `.html` (self-contained), `.svg` or `.png`."""
    figure = _draw(choice)
    if file.suffix == ".png":
        figure.savefig(file, dpi=120)
        return
    svg = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "thresholds"}):  # the same choice gives the same bytes
        figure.savefig(svg, format="svg", metadata={"Date": None})
    text = svg.getvalue()
    if file.suffix == ".html":
        text = _PAGE.format(svg=text[text.index("<svg") :])
    file.write_text(text, encoding="utf-8")


def _draw(choice: Choice) -> Figure:
    figure = Figure(figsize=(10, 3.2 * len(choice.labels)), layout="constrained")
    axes = figure.subplots(len(choice.labels), 1, squeeze=False)[:, 0]
    for label, cost_axes in zip(choice.labels, axes, strict=True):
        curve = label.curve
        # A threshold holds downwards to the next score below it.
        cost_axes.step(curve.thresholds, curve.cost, where="pre", color=_COST)
        cost_axes.set_ylabel("cost of 1,000 pictures", color=_COST)
        cost_axes.set_ylim(bottom=0)
        cost_axes.set_xlim(min(float(curve.thresholds[0]), label.in_force) - 0.01, 1.01)
        cost_axes.set_xlabel("threshold")
        unclear_axes = cost_axes.twinx()
        unclear_axes.step(curve.thresholds, 100 * curve.share_unclear, where="pre", color=_UNCLEAR, linestyle="--")
        unclear_axes.set_ylabel("unclear, % of this label's", color=_UNCLEAR)
        unclear_axes.set_ylim(0, 100)
        cost_axes.axvline(label.in_force, color="black" if label.threshold is not None else "#999999", linewidth=1)
        cost_axes.set_title(_title(label), loc="left", parse_math=False)
    return figure


def _title(label: LabelChoice) -> str:
    if label.threshold is None:
        return f"{label.label}: none chosen, {label.pictures:,} pictures are too few; {label.in_force:g} stays"
    return f"{label.label}: {label.threshold:g}, from {label.pictures:,} pictures"
