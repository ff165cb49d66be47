"""Details of the final tables and of selection: the nearest to significance, mixed splits."""

import pytest

from lethe.gridsearch.grid import for_test
from lethe.gridsearch.selection import choose
from tests.gridsearch.test_grid_tables import marks
from tests.made_grid import finish, grid
from tests.made_records import run


def test_the_agent_that_lacks_fewest_runs_says_how_many_would_do():
    # 2 / 2^4 for ewc and 2 / 2^2 for si, which has two runs alone; of two comparisons ewc's comes first.
    _, notes = marks(er=[50.0, 51, 52, 53], ewc=[10.0, 11, 12, 13], si=[20.0, 21])
    assert "4 common runs and 2 comparisons reach p = 0.25 at the least" in notes[1]


def test_one_trial_on_test_images_is_enough_to_refuse_a_choice(tmp_path):
    text = 'datasets = ["digits"]\nparadigms = ["class_iid"]\n[agents.er]\nlr = [1e-2, 1e-3]\n'
    first, second = grid(tmp_path, text).trials
    for trial in (first, for_test(second)):
        finish(tmp_path, trial, run(0, [50.0]))
    with pytest.raises(ValueError, match="must not see test images"):
        choose([first, for_test(second)], tmp_path, 1)
