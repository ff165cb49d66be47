"""The order that NumPy 1.19's unstable argsort gives to equal keys.

The published task lists were made by `DataFrame.sort_values` with the quicksort of NumPy 1.19. Where
keys are equal their order depends on that very algorithm; newer builds of NumPy sort with vector
instructions and order them otherwise. So the algorithm is spelled out here.
"""

from functools import lru_cache

_INSERTION_SPAN = 15
"""Parts whose last position is at most this far from the first are sorted by insertion, which is stable."""

STABLE_SIZE = _INSERTION_SPAN + 1
"""Up to this many keys the result is the same as that of a stable sort."""


@lru_cache(maxsize=1024)
def argsort(keys: tuple[int, ...]) -> tuple[int, ...]:
    """Positions that sort `keys` ascending, equal keys in NumPy 1.19's order (`aquicksort` of `npysort`).

    Introsort without its escape to heapsort, which only adversarial keys reach. Remembered, because the
    sessions of a dataset mostly hold the same frame numbers in the same order.
    """
    order = list(range(len(keys)))
    parts = [(0, len(keys) - 1)]
    while parts:
        first, last = parts.pop()
        while last - first > _INSERTION_SPAN:
            pivot = _partition(keys, order, first, last)
            if pivot - first < last - pivot:  # the larger side waits
                parts.append((pivot + 1, last))
                last = pivot - 1
            else:
                parts.append((first, pivot - 1))
                first = pivot + 1
        order[first : last + 1] = sorted(order[first : last + 1], key=keys.__getitem__)
    return tuple(order)


def _partition(keys: tuple[int, ...], order: list[int], first: int, last: int) -> int:
    """Split `order[first..last]` around the median of three; return where the pivot ends up."""

    def swap(a: int, b: int) -> None:
        order[a], order[b] = order[b], order[a]

    def less(a: int, b: int) -> bool:
        return keys[order[a]] < keys[order[b]]

    middle = first + (last - first) // 2
    if less(middle, first):
        swap(middle, first)
    if less(last, middle):
        swap(last, middle)
    if less(middle, first):
        swap(middle, first)
    pivot = keys[order[middle]]
    low, high = first, last - 1
    swap(middle, high)  # the pivot is parked beside the end
    while True:
        low += 1
        while keys[order[low]] < pivot:
            low += 1
        high -= 1
        while pivot < keys[order[high]]:
            high -= 1
        if low >= high:
            break
        swap(low, high)
    swap(low, last - 1)
    return low
