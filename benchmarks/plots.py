"""Plots of a finished comparison, for the docs.

    python benchmarks/compare.py --json benchmarks/figures.json
    python benchmarks/plots.py [FIGURES]          # writes docs/plots/*.svg

Needs the ``bench`` extra. Every point is a median of what the figures hold; colours are those of
Okabe and Ito, which the colour-blind tell apart, and shapes differ as well.
"""

import json
import statistics
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
BASE = "pickle 5"
SHOWN = {  # method: name in the legend, colour, marker
    "shardpickle, 2 workers": ("shardpickle", "#0072B2", "o"),
    "slim-trees, lzma": ("slim-trees, lzma (rounds)", "#CC79A7", "D"),
    "joblib, zlib 3": ("joblib, zlib 3", "#E69F00", "s"),
    "gzip + optimize": ("gzip over pickletools.optimize", "#009E73", "^"),
    "joblib": ("joblib, uncompressed", "#8c8c8c", "v"),
}
GREY = "#7f7f7f"  # reads on white and on black


def median(figures, key):
    return statistics.median(figures[key]) if figures.get(key) else None


def drawn(models, key, title, axis, path, methods, ratio):
    """One row for each forest, one point for each method, against pickle's figure."""
    names = [name for name in models if median(models[name].get(BASE, {}), key)]
    figure, axes = plt.subplots(figsize=(7.2, 0.42 * len(names) + 1.5))
    for method in methods:
        label, colour, marker = SHOWN[method]
        points = []
        for row, name in enumerate(names):
            value = median(models[name].get(method, {}), key)
            if value:
                points.append((ratio(value, median(models[name][BASE], key)), row))
        if points:
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, marker, color=colour, label=label, markersize=7, alpha=0.9)
    axes.axvline(1, color=GREY, linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.set_xlabel(axis, color=GREY)
    axes.set_title(title, loc="left", color=GREY, fontsize=11)
    axes.tick_params(colors=GREY)
    axes.grid(axis="x", color=GREY, alpha=0.25)
    for spine in axes.spines.values():
        spine.set_visible(False)
    legend = axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.9 / len(names) - 0.08), ncols=3, frameon=False
    )
    plt.setp(legend.get_texts(), color=GREY)
    figure.savefig(path, transparent=True, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


BARS = {  # method: name beside the bar
    "pickle 5": "pickle",
    "joblib": "joblib",
    "skops": "skops",
    "joblib, zlib 3": "joblib, compress=3",
    "slim-trees, lzma": "slim-trees, lzma (rounds)",
    "shardpickle, 2 workers": "shardpickle",
}


def bars(of_forest, path):
    """Two panels of bars for one forest: bytes and seconds, shorter is better."""
    panels = (("bytes", 1e6, "size in MB"), ("load", 1, "load in seconds"))
    figure, all_axes = plt.subplots(1, 2, figsize=(8.4, 2.2), sharey=True)
    for axes, (key, unit, title) in zip(all_axes, panels, strict=True):
        values = [median(of_forest[method], key) / unit for method in BARS]
        ours = [method.startswith("shardpickle") for method in BARS]
        colours = ["#0072B2" if mine else "#8c8c8c" for mine in ours]
        drawn_bars = axes.barh(list(BARS.values()), values, color=colours, height=0.66)
        labels = [f"{value:.3g}" for value in values]
        axes.bar_label(drawn_bars, labels, padding=4, color=GREY, fontsize=9)
        axes.set_title(title, loc="left", color=GREY, fontsize=10)
        axes.tick_params(colors=GREY, length=0)
        axes.set_xticks([])
        axes.margins(x=0.14)
        axes.invert_yaxis()
        for spine in axes.spines.values():
            spine.set_visible(False)
    all_axes[0].invert_yaxis()  # the second panel shares the first one's axis
    figure.tight_layout(w_pad=3)
    figure.savefig(path, transparent=True, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def main(figures):
    mpl.rcParams |= {
        "svg.hashsalt": "shardpickle",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
    }
    found = json.loads(figures.read_text())["models"]
    models = {
        name: {method.rstrip("*~"): each for method, each in of.items()}
        for name, of in found.items()
    }
    folder = HERE.parent / "docs" / "plots"
    folder.mkdir(exist_ok=True)
    bars(models["rfc-synthetic"], folder / "beside.svg")
    drawn(
        *(models, "bytes", "How many times smaller than the pickle", "pickle's bytes / bytes"),
        folder / "size.svg",
        list(SHOWN)[:4],
        lambda value, base: base / value,
    )
    drawn(
        *(
            models,
            "load",
            "How long a load takes beside the pickle's",
            "seconds / pickle's seconds",
        ),
        folder / "load.svg",
        list(SHOWN),
        lambda value, base: value / base,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "figures.json")
