"""Seeds of a run are those that every earlier result was made with."""

from lethe.benchmarks.run.seeds import derive


def test_seeds_stay_what_they_were():
    # Another derivation would give every configuration other numbers than those on record.
    assert derive(0, 0, "weights") == 6114210651174087966
    assert derive(0, 1, "agent") == 6860392192197342858
    assert derive(7, 3, "order") == 1790684810161131996


def test_seeds_are_of_63_bits_which_torch_takes():
    seeds = [derive(0, run, "agent") for run in range(200)]
    assert len(set(seeds)) == 200
    assert 2**62 <= max(seeds) < 2**63
