"""What comes after the derivations: zstd at several levels, or pcodec, on the trees' columns.

    python benchmarks/stages.py [--folder FOLDER] [NAME ...]

Needs the ``bench`` extra. Bytes of all columns of a forest's trees, in frames of 1 MiB;
"as shipped" chooses for each frame among plain, shuffled and palette, with matches and without.
"reference entropy" is what a coder would need that knows every field's frequencies, order 0: see
docs/trees.md. With ``--columns`` a line for each column.
"""

import argparse
import tempfile

import numpy as np
import zstandard
from compare import Finder
from forests import FORESTS
from models import loaded, pickled
from pcodec import ChunkConfig, standalone
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree._tree import Tree

from shardpickle.codecs import frames, hist_nodes, trees
from shardpickle.sklearn_support import classes

SHOWN = ("rfc-synthetic", "rfr-diamonds", "rfr-friedman", "etr-friedman", "gbr-friedman")
SHOWN += ("hgb-friedman", "iforest")


def one_by_one(step, items):
    return [step(item) for item in items]


def columns_of(model):
    """(name, bytes of an item, array) of every column, and the raw bytes of the trees."""
    found = Finder(model, Tree, TreePredictor).found
    plain = [classes.arrays(each) for each in found if isinstance(each, Tree)]
    nodes = [each.nodes for each in found if isinstance(each, TreePredictor)]
    columns = []
    if plain:
        arrays = trees.encode(plain, None, one_by_one)
        columns += [(*each[:2], a) for each, a in zip(trees.COLUMNS, arrays, strict=True)]
    if nodes:
        arrays = hist_nodes.encode(nodes)
        columns += [(*each[:2], a) for each, a in zip(hist_nodes.COLUMNS, arrays, strict=True)]
    raw = sum(each.nbytes for each in plain) + sum(each.nbytes for each in nodes)
    return [(name, width, array.view(np.uint8)) for name, width, array in columns], raw


def zstd(level, shuffled):
    def size(piece, width):
        raw = frames.shuffle(piece, width) if shuffled and width > 1 else piece
        return len(zstandard.ZstdCompressor(level=level).compress(raw.data))

    return size


def shipped(piece, width):
    return len(frames.encode(piece, width, 3).data)


def pcodec(piece, width):
    numbers = piece.view(f"<u{max(width, 2)}") if width > 1 else piece.astype(np.uint16)
    return len(standalone.simple_compress(numbers, ChunkConfig()))


def either(*ways):
    return lambda piece, width: min(way(piece, width) for way in ways)


WAYS = {
    "zstd 3, plain": zstd(3, False),
    "zstd 3, shuffled": zstd(3, True),
    "as shipped (3)": shipped,
    "zstd 9, better": either(zstd(9, False), zstd(9, True)),
    "zstd 19, better": either(zstd(19, False), zstd(19, True)),
    "pcodec or shipped": either(pcodec, shipped),
}


def total(array, width, way):
    step = frames.FRAME_BYTES // width * width
    return sum(way(array[at : at + step], width) for at in range(0, len(array), step))


def entropy(numbers):
    """Bits of an item, if each is coded by its frequency."""
    counts = np.unique(numbers, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def reference(array, width):
    """Bytes of a column: its numbers by frequency and their table, or its bytes by place."""
    numbers = array.view(f"<u{width}")
    distinct = len(np.unique(numbers))
    by_number = entropy(numbers) * len(numbers) / 8 + distinct * width
    places = array.reshape(-1, width).T
    return min(by_number, sum(entropy(place) * len(place) / 8 for place in places))


def show(name, folder, each_column):
    columns, raw = columns_of(loaded(pickled(name, folder)))
    columns = [column for column in columns if len(column[2])]
    sizes = {way: [total(a, w, do) for _, w, a in columns] for way, do in WAYS.items()}
    sizes["reference entropy"] = [round(reference(a, w)) for _, w, a in columns]
    if each_column:
        print(f"\n{name:<32}" + "".join(f"{way:>19}" for way in sizes))
        for number, (label, _, _) in enumerate(columns):
            print(f"{label:<32}" + "".join(f"{each[number]:>19,}" for each in sizes.values()))
    ratios = [raw / sum(each) for each in sizes.values()]
    print(f"{name:<16}{raw / 1e6:>9.1f}" + "".join(f"{each:>19.2f}" for each in ratios), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=None, help="where the models' pickles are kept")
    parser.add_argument("--columns", action="store_true", help="a line for each column")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FORESTS))
    options = parser.parse_args()
    folder = options.folder or tempfile.mkdtemp()
    heads = [*WAYS, "reference entropy"]
    print(f"{'raw / stored':<16}{'raw MB':>9}" + "".join(f"{each:>19}" for each in heads))
    for name in options.names or SHOWN:
        show(name, folder, options.columns)


if __name__ == "__main__":
    main()
