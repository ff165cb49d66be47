"""Walks over nested state."""

from lethe.common.tree import leaves, tree_map


class Box(dict):
    """A dictionary that counts as one value."""


def is_box(value):
    return isinstance(value, Box)


TREE = {"a": 1, 2: [3, (4, {"b": 5})], "empty": [], "box": Box(c=6)}


def test_a_map_keeps_keys_and_order_and_makes_tuples_lists():
    assert tree_map(lambda leaf: leaf * 10, TREE) == {
        "a": 10,
        2: [30, [40, {"b": 50}]],
        "empty": [],
        "box": {"c": 60},
    }
    assert tree_map(str, 7) == "7"


def test_leaves_come_depth_first():
    assert list(leaves(TREE)) == [1, 3, 4, 5, 6]
    assert list(leaves(7)) == [7]


def test_a_container_may_count_as_a_leaf():
    assert tree_map(lambda leaf: "box" if is_box(leaf) else leaf, TREE, is_box)["box"] == "box"
    assert list(leaves(TREE, is_box))[-1] == Box(c=6)
