"""`peers.csv` as pictures, each as PNG and SVG: bars by runtime, curves over rows a call and over depth.

One colour a runtime throughout, cenote's in the foreground; a figure stands beside each bar, a name at the end of each
curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .names import GREY, OURS, RUNTIMES, WORKS, label, title
from .tables import Results, number

# Variants of cenote, and runtimes that another line shows as well, would crowd the pictures of curves and the README's.
NOT_IN_CURVES = ("cenote_sums", "cenote_python", "ydf", "genmodel_easy")
NOT_IN_README = (*NOT_IN_CURVES, "cenote_avx2", "catboost_oblivious")


def _is_ours(who: str) -> bool:
    return who.startswith("cenote")


def _bar_colour(who: str) -> str:
    known = RUNTIMES.get(who)
    return known.colour if known and (_is_ours(who) or who.startswith(("genmodel", "mojo_"))) else GREY


def _save(figure: Any, folder: Path, name: str) -> None:
    import matplotlib.pyplot as plt

    for kind in ("png", "svg"):
        kept = {"Date": None} if kind == "svg" else None
        figure.savefig(folder / f"{name}.{kind}", dpi=150, bbox_inches="tight", pad_inches=0.12, metadata=kept)
    plt.close(figure)


def _plain(value: float, _: object = None) -> str:
    """A tick without powers of ten: 0.5, 20, 1,000."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}x" if ratio >= 9.95 else f"{ratio:.1f}x"


def _bars(axis: Any, found: list[tuple[str, float]], unit: str, heading: str, sub: str) -> None:
    """Horizontal bars on a log axis, the fastest on top; beside each its figure and how many times cenote's it is."""
    found = sorted(found, key=lambda pair: pair[1], reverse=True)
    ours = dict(found).get("cenote")
    low = 10 ** math.floor(math.log10(min(value for _, value in found)) - 0.15)
    high = max(value for _, value in found)
    axis.set_xscale("log")
    axis.barh(
        [label(who) for who, _ in found], [value - low for _, value in found], left=low, height=0.72,
        color=[_bar_colour(who) for who, _ in found],
    )  # fmt: skip
    for at, (who, value) in enumerate(found):
        text = f" {number(value)}{unit}"
        if ours and value > ours and not _is_ours(who):
            text += f"   {_times(value / ours)}"
        weight = "bold" if who == "cenote" else "normal"
        axis.text(
            value, at, text, va="center", fontsize=9, fontweight=weight, color=OURS if who == "cenote" else "#222"
        )
        if who == "cenote":
            axis.get_yticklabels()[at].set_fontweight("bold")
    # Room for the longest text to the right of the longest bar.
    axis.set_xlim(low, high * (high / low) ** 0.42)
    axis.set_ylim(-0.6, len(found) - 0.4)
    axis.xaxis.set_major_formatter(_plain)
    axis.xaxis.set_minor_formatter(lambda *_: "")
    axis.tick_params(axis="y", length=0, labelsize=9)
    axis.tick_params(axis="x", labelsize=8, colors="#666")
    axis.spines["left"].set_visible(False)
    axis.spines["bottom"].set_color("#bbb")
    axis.set_title(heading, loc="left", fontsize=11, fontweight="bold", pad=20)
    axis.text(0, 1.0, sub, transform=axis.transAxes, fontsize=9, color="#555", va="bottom")


def _cells(results: Results, work: str, unit: str, skip: Sequence[str] = ()) -> list[tuple[str, float]]:
    """The figures of a work, one thread, its largest batch."""
    batch = max(results.batches(work, 1))
    found = [(who, results.value(work, who, 1, batch, unit)) for who in results.who(work) if who not in skip]
    shrink = 1000 if work.startswith("load") else 1  # microseconds to milliseconds
    return [(who, value / shrink) for who, value in found if value is not None]


def _panels(results: Results, folder: Path, name: str, works: Sequence[str], unit: str, short: str, said: str) -> None:
    """One panel of bars a work."""
    import matplotlib.pyplot as plt

    works = [work for work in works if results.batches(work, 1)]
    if not works:
        return
    across = min(2, len(works))
    down = -(-len(works) // across)
    tallest = max(len(_cells(results, work, unit)) for work in works)
    figure, axes = plt.subplots(down, across, figsize=(6.2 * across, (0.27 * tallest + 0.95) * down), squeeze=False)
    for axis in axes.flat[len(works) :]:
        axis.remove()
    for axis, work in zip(axes.flat, works, strict=False):
        batch = max(results.batches(work, 1))
        rows = "" if work.startswith("load") else f", {batch:,} row{'s' if batch > 1 else ''} a call"
        what = "nanoseconds a row" if work.startswith(("glm", "zoo_glm")) else said
        _bars(axis, _cells(results, work, unit), short, title(work), f"{what}, one thread{rows}; log scale")
    figure.tight_layout(h_pad=1.6, w_pad=2.0)
    _save(figure, folder, name)


def _readme(results: Results, folder: Path) -> None:
    """Two panels: many rows, and one."""
    import matplotlib.pyplot as plt

    if not (results.batches("gbm_500x6_numeric", 1) and results.batches("one_row_500x6", 1)):
        return
    many = _cells(results, "gbm_500x6_numeric", "ns_per_row_tree", NOT_IN_README)
    one = _cells(results, "one_row_500x6", "us_per_row", NOT_IN_README)
    figure, axes = plt.subplots(1, 2, figsize=(11.5, 0.3 * max(len(many), len(one)) + 1.5))
    batch = max(results.batches("gbm_500x6_numeric", 1))
    _bars(axes[0], many, " ns", f"{batch:,} rows a call", "nanoseconds a row a tree, one thread; log scale")
    _bars(axes[1], one, " µs", "One row a call", "microseconds, one thread; log scale")
    figure.suptitle(
        "An H2O GBM of 500 trees of depth 6, 28 numeric columns", fontsize=11, x=0.01, ha="left", color="#444"
    )
    figure.tight_layout(w_pad=2.5)
    _save(figure, folder, "peers_readme")


def _spread(heights: list[float], gap: float) -> list[float]:
    """The heights moved apart, in order, so that none is nearer to another than `gap`; groups stay centred."""
    groups: list[tuple[float, list[float]]] = []  # the sum of wanted starts, and the members
    for at in sorted(heights):
        members = [at]
        while groups and _start(members, gap) < _start(groups[-1][1], gap) + gap * len(groups[-1][1]):
            members = groups.pop()[1] + members
        groups.append((0.0, members))
    return [_start(members, gap) + gap * i for _, members in groups for i in range(len(members))]


def _start(members: list[float], gap: float) -> float:
    return sum(members) / len(members) - gap * (len(members) - 1) / 2


def _curves(axis: Any, curves: dict[str, list[tuple[float, float]]], heading: str) -> None:
    """A line a runtime on log axes, its name at its right end in its own colour."""
    axis.set_yscale("log")
    for who, points in curves.items():
        known = RUNTIMES.get(who)
        axis.plot(
            *zip(*points, strict=True), marker="o", markersize=3, color=known.colour if known else GREY,
            linewidth=2.8 if who == "cenote" else 1.3, zorder=3 if _is_ours(who) else 2,
        )  # fmt: skip
    ends = sorted((points[-1][1], who) for who, points in curves.items())
    low, high = axis.get_ylim()
    decades = math.log10(high / low)
    inches = axis.get_position().height * axis.figure.get_figheight()
    gap = decades * 0.145 / inches
    places = _spread([math.log10(value) for value, _ in ends], gap)
    right = max(points[-1][0] for points in curves.values())
    for (value, who), place in zip(ends, places, strict=True):
        known = RUNTIMES.get(who)
        axis.annotate(
            f"{label(who)}  {number(value)}", xy=(right, 10**place), xytext=(8, 0), textcoords="offset points",
            va="center", fontsize=8.5, color=known.colour if known else GREY, annotation_clip=False,
            fontweight="bold" if who == "cenote" else "normal",
        )  # fmt: skip
    axis.yaxis.set_major_formatter(_plain)
    axis.grid(axis="y", which="major", linewidth=0.5, color="#ddd")
    axis.tick_params(labelsize=8, colors="#444")
    axis.set_title(heading, loc="left", fontsize=11, fontweight="bold")


def _curves_of(results: Results, work: str) -> dict[str, list[tuple[float, float]]]:
    """The points (rows a call, ns a row a tree) of each runtime."""
    curves = {}
    for who in results.who(work):
        if who in NOT_IN_CURVES:
            continue
        values = [(float(batch), results.value(work, who, 1, batch)) for batch in results.batches(work, 1)]
        points = [(batch, value) for batch, value in values if value is not None]
        if points:
            curves[who] = points
    return curves


def _batch(results: Results, folder: Path) -> None:
    import matplotlib.pyplot as plt

    works = [work for work in WORKS if work.startswith(("gbm", "drf")) and len(results.batches(work, 1)) > 1]
    if not works:
        return
    down = -(-len(works) // 2)
    figure, axes = plt.subplots(down, 2, figsize=(13, 4.1 * down), squeeze=False)
    figure.subplots_adjust(wspace=0.72, hspace=0.34, right=0.86)
    for axis in axes.flat[len(works) :]:
        axis.remove()
    for axis, work in zip(axes.flat, works, strict=False):
        axis.set_xscale("log")
        _curves(axis, _curves_of(results, work), title(work))
        axis.set_xticks(results.batches(work, 1))
        axis.minorticks_off()
        axis.xaxis.set_major_formatter(_plain)
        axis.set_xlabel("rows a call", fontsize=9)
        axis.set_ylabel("nanoseconds a row a tree", fontsize=9)
    _save(figure, folder, "peers_batch")


def _depth(results: Results, folder: Path) -> None:
    import matplotlib.pyplot as plt

    works = sorted({line["work"] for line in results.lines if line["work"].startswith("depth_")})
    if len(works) < 2:
        return
    batch = max(results.batches(works[0], 1))
    curves: dict[str, list[tuple[float, float]]] = {}
    for work in works:
        for who in results.who(work):
            value = results.value(work, who, 1, batch)
            if value is not None and who not in NOT_IN_CURVES:
                curves.setdefault(who, []).append((float(work.removeprefix("depth_")), value))
    figure, axis = plt.subplots(figsize=(8.4, 5.0))
    _curves(axis, curves, "By depth: GBM of 100 trees, 28 numbers")
    axis.set_xticks([int(work.removeprefix("depth_")) for work in works])
    axis.set_xlabel("depth of the trees", fontsize=9)
    axis.set_ylabel(f"nanoseconds a row a tree, one thread, {batch:,} rows a call", fontsize=9)
    _save(figure, folder, "peers_depth")


def draw(results: Results, folder: Path) -> None:
    """Draws `peers_{readme,bars,one_row,pandas,load,zoo,batch,depth}`, those that the results suffice for."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({
        "svg.hashsalt": "cenote", "svg.fonttype": "none", "font.family": "DejaVu Sans",
        "axes.spines.top": False, "axes.spines.right": False,
    })  # fmt: skip
    each = "nanoseconds a row a tree"
    trees = [work for work in WORKS if work.startswith(("gbm", "drf", "glm"))]
    zoo = sorted({line["work"] for line in results.lines if line["work"].startswith("zoo_")})
    drawings: list[Callable[[], None]] = [
        lambda: _readme(results, folder),
        lambda: _panels(results, folder, "peers_bars", trees, "ns_per_row_tree", "", each),
        lambda: _panels(results, folder, "peers_one_row", ["one_row_500x6"], "us_per_row", " µs", "microseconds a row"),
        lambda: _panels(results, folder, "peers_pandas", ["pandas_100k"], "us_per_row", " µs", "microseconds a row"),
        lambda: _panels(results, folder, "peers_load", ["load_first", "load"], "us_per_row", " ms", "milliseconds"),
        lambda: _panels(results, folder, "peers_zoo", zoo, "ns_per_row_tree", "", each),
        lambda: _batch(results, folder),
        lambda: _depth(results, folder),
    ]
    for drawing in drawings:
        drawing()
