"""Trees' arrays of other releases, as this one has them."""

import numpy as np
from numpy.typing import NDArray
from sklearn.tree._tree import NODE_DTYPE


def nodes(array: NDArray[np.void]) -> NDArray[np.void]:
    """A tree's nodes in the present layout.

    Parameters
    ----------
    array : ndarray
        The structured array of a tree's state, in the layout of scikit-learn 1.3 and later or the
        one before it (no ``missing_go_to_left``), with any byte order and width of integers.

    Returns
    -------
    ndarray
        What lacks ``missing_go_to_left`` gets what scikit-learn (for random splits: since 1.6)
        sets where a fit met no missing value: they go with the larger child. Leaves get 0, though
        in a tree with ``max_leaf_nodes`` some leaves hold what the split they did without had.

    Raises
    ------
    ValueError
        If the fields are others.
    """
    names = array.dtype.names
    missing = "missing_go_to_left"
    if names is None or set(names) | {missing} != set(NODE_DTYPE.names) or array.ndim != 1:
        raise ValueError(f"not the nodes of a tree: {array.ndim} dimension(s), fields {names}")
    migrated = np.zeros(array.shape, NODE_DTYPE)
    for name in names:
        np.copyto(migrated[name], array[name], casting="same_kind")
    if missing not in names:
        inner = np.flatnonzero(migrated["left_child"] >= 0)
        left, right = (migrated[side][inner] for side in ("left_child", "right_child"))
        counts = migrated["n_node_samples"]
        migrated[missing][inner] = counts[left] > counts[right]
    return migrated


def fractions(
    values: NDArray[np.float64], weighted_n_node_samples: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A classifier's values, through scikit-learn 1.3 the weight of each class, as fractions.

    Parameters
    ----------
    values : ndarray of shape (nodes, outputs, classes)
    weighted_n_node_samples : ndarray of shape (nodes,)
        A field of the nodes.

    Returns
    -------
    ndarray of shape (nodes, outputs, classes)
        Bit for bit what a fit gives since scikit-learn 1.4, which divides so, node by node.
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # nodes without weight
        fractions: NDArray[np.float64] = values / weighted_n_node_samples[:, None, None]
    return fractions.astype(np.float64, copy=False)
