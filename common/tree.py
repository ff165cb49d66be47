"""Walks over nested state: lists, tuples and dictionaries, down to their leaves."""

from collections.abc import Callable, Iterator


def _is_never_leaf(value: object) -> bool:
    return False


def tree_map(
    function: Callable[[object], object],
    tree: object,
    is_leaf: Callable[[object], bool] = _is_never_leaf,
) -> object:
    """`tree` with each leaf replaced by `function(leaf)`; dictionaries keep their keys, tuples become lists.

    Leaves are all values but lists, tuples and dictionaries, and of these the ones for which `is_leaf` holds.
    """
    if not is_leaf(tree):
        if isinstance(tree, dict):
            return {key: tree_map(function, item, is_leaf) for key, item in tree.items()}
        if isinstance(tree, list | tuple):
            return [tree_map(function, item, is_leaf) for item in tree]
    return function(tree)


def leaves(tree: object, is_leaf: Callable[[object], bool] = _is_never_leaf) -> Iterator[object]:
    """The leaves of `tree`, depth first, in the order of its lists and dictionaries; leaves as for `tree_map`."""
    if not is_leaf(tree):
        if isinstance(tree, dict):
            tree = list(tree.values())
        if isinstance(tree, list | tuple):
            for item in tree:
                yield from leaves(item, is_leaf)
            return
    yield tree
