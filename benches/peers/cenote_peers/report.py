"""`peers.csv` as a table in the terminal and as plots: bars by peer, curves over batch size and depth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

OURS = "#0b7a75"
OURS_PYTHON = "#6bb5b1"
THEIRS = "#9aa1a9"
# One colour a peer in every plot; whoever is not here is grey.
CURVES = {
    "onedal": "#c1553b", "xgboost": "#3d6fb4", "ydf": "#8a5ba6", "ydf_engine": "#c2589b", "onnxruntime": "#b98a2e",
    "tl2cgen": "#5c8a3a", "lightgbm": "#4fa3c7", "treelite_gtil": "#8c564b", "genmodel": "#2f2f2f",
    "catboost_oblivious": "#9aa1a9",
}  # fmt: skip


def table(rows: Sequence[dict[str, object]], work: str) -> str:
    """One work as text: a line a peer, a column a (threads, batch), in ns a row a tree; fastest first."""
    mine = [row for row in rows if row["work"] == work]
    cells = sorted({(int(str(row["threads"])), int(str(row["batch"]))) for row in mine})
    value = {
        (row["who"], int(str(row["threads"])), int(str(row["batch"]))): float(str(row["ns_per_row_tree"]))
        for row in mine
    }
    last = max((cell for cell in cells if cell[0] == 1), default=(1, 1))
    who = sorted({str(row["who"]) for row in mine}, key=lambda name: value.get((name, *last), float("inf")))
    head = f"{work}, ns a row a tree".ljust(36) + "".join(f"{t}T x {b}".rjust(13) for t, b in cells)
    body = [
        name.rjust(34)
        + "  "
        + "".join(f"{value[name, *cell]:13.4g}" if (name, *cell) in value else " " * 13 for cell in cells)
        for name in who
    ]
    return "\n".join([head, *body, ""])


def _colour(who: str) -> str:
    return {"cenote": OURS, "cenote_python": OURS_PYTHON}.get(who, THEIRS)


def _save(figure: Any, folder: Path, name: str) -> None:
    for kind in ("png", "svg"):
        figure.savefig(
            folder / f"{name}.{kind}", dpi=130, bbox_inches="tight", metadata={"Date": None} if kind == "svg" else None
        )


def _bars(frame: Any, plt: Any, folder: Path, name: str, works: Sequence[str], unit: str, label: str) -> None:
    """Horizontal bars, one panel a work, one thread at the work's largest batch; in brackets, times cenote's."""
    works = [work for work in works if (frame["work"] == work).any()]
    if not works:
        return
    across = min(2, len(works))
    down = -(-len(works) // across)
    figure, axes = plt.subplots(down, across, figsize=(6.2 * across, 3.5 * down), squeeze=False)
    for axis in axes.flat[len(works) :]:
        axis.remove()
    for axis, work in zip(axes.flat, works, strict=False):
        one = frame[(frame["work"] == work) & (frame["threads"] == 1)]
        one = one[one["batch"] == one["batch"].max()].sort_values(unit, ascending=False)
        drawn = axis.barh(one["who"], one[unit], color=[_colour(who) for who in one["who"]])
        ours = one.loc[one["who"] == "cenote", unit]
        times = one[unit] / ours.iloc[0] if len(ours) else one[unit] * float("nan")
        labels = [
            f"{value:.3g}" + (f"  ({k:.3g} x)" if k > 1 else "") for value, k in zip(one[unit], times, strict=True)
        ]
        axis.bar_label(drawn, labels, padding=3, fontsize=8)
        axis.set_xlim(0, one[unit].max() * 1.25)
        axis.set_title(f"{work}, batch {one['batch'].max():,}", loc="left", fontsize=10)
        axis.set_xlabel(label, fontsize=8)
        axis.tick_params(labelsize=8)
    figure.tight_layout()
    _save(figure, folder, name)
    plt.close(figure)


def _curves(axis: Any, frame: Any, x: str, unit: str) -> None:
    order = frame.groupby("who")[unit].min().sort_values().index
    for who in order:
        one = frame[frame["who"] == who].sort_values(x)
        ours = who.startswith("cenote")
        axis.plot(
            one[x], one[unit], marker="o", markersize=3.5, label=who, linewidth=2.6 if ours else 1.2,
            color=_colour(who) if ours else CURVES.get(who, THEIRS), zorder=3 if ours else 2,
        )  # fmt: skip
    axis.set_yscale("log")
    axis.grid(axis="y", which="major", linewidth=0.4)
    axis.tick_params(labelsize=8)


def plots(table_path: Path, folder: Path) -> None:
    """Draws `peers_{bars,one_row,pandas,load,zoo,batch,depth}`, each as PNG and SVG."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "cenote", "axes.spines.top": False, "axes.spines.right": False})
    import matplotlib.pyplot as plt
    import pandas as pd

    frame = pd.read_csv(table_path)
    main = [
        "gbm_500x6_numeric", "gbm_1000x8_numeric", "drf_100x20_numeric", "gbm_500x6_flights", "gbm_multinomial_10",
        "glm_highcard",
    ]  # fmt: skip
    one = "one thread, nanoseconds a row a tree (shorter is better)"
    _bars(frame, plt, folder, "peers_bars", main, "ns_per_row_tree", one)
    _bars(frame, plt, folder, "peers_one_row", ["one_row_500x6"], "us_per_row", "microseconds a row")
    _bars(frame, plt, folder, "peers_pandas", ["pandas_100k"], "us_per_row", "one thread, microseconds a row")
    _bars(frame, plt, folder, "peers_load", ["load"], "us_per_row", "microseconds a load")
    zoo = sorted(work for work in frame["work"].unique() if work.startswith("zoo_"))
    _bars(frame, plt, folder, "peers_zoo", zoo, "ns_per_row_tree", one)

    sized = [work for work in main[:5] if frame[frame["work"] == work]["batch"].nunique() > 1]
    if sized:
        figure, axes = plt.subplots(1, len(sized), figsize=(4.6 * len(sized), 4.4), squeeze=False, sharey=True)
        for axis, work in zip(axes.flat, sized, strict=True):
            _curves(axis, frame[(frame["work"] == work) & (frame["threads"] == 1)], "batch", "ns_per_row_tree")
            axis.set_xscale("log")
            axis.set_title(work, loc="left", fontsize=10)
            axis.set_xlabel("rows a call", fontsize=8)
        axes[0][0].set_ylabel("ns a row a tree, one thread", fontsize=8)
        handles = {
            label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            handles.values(),
            handles,
            loc="lower center",
            ncols=6,
            fontsize=8,
            bbox_to_anchor=(0.5, -0.09),
            frameon=False,
        )
        figure.tight_layout()
        _save(figure, folder, "peers_batch")
        plt.close(figure)

    deep = frame[frame["work"].str.startswith("depth_")].copy()
    if len(deep):
        deep["depth"] = deep["work"].str.removeprefix("depth_").astype(int)
        figure, axis = plt.subplots(figsize=(7, 4.6))
        _curves(axis, deep, "depth", "ns_per_row_tree")
        axis.set_xlabel("depth of the 100 trees", fontsize=8)
        axis.set_ylabel(f"ns a row a tree, one thread, batch {deep['batch'].max():,}", fontsize=8)
        axis.legend(fontsize=8, frameon=False, bbox_to_anchor=(1.0, 1.0), loc="upper left")
        figure.tight_layout()
        _save(figure, folder, "peers_depth")
        plt.close(figure)
