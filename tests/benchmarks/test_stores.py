"""Where a run reads its inputs from: chosen by size, the same numbers from each, and codes."""

import errno
import json
import os
from dataclasses import replace

import pytest
import torch

from lethe.agents.parts import product_quantiser
from lethe.benchmarks.run import codes, kept, stores
from lethe.benchmarks.run.experiment import Machine, Places, check_machine, open_run, run
from lethe.benchmarks.run.seeds import derive
from lethe.benchmarks.run.trial import Trial
from lethe.common.errors import InputError
from lethe.common.input_problems import InputErrorByKey


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Data and lists of all tests."""
    return tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("lists")


@pytest.fixture
def places(shared, tmp_path):
    return Places(tmp_path / "results", *shared)


def trial(agent="er", **options):
    options = {"settings": {"batch_size": 100}, "cut": "conv4", **options}
    return Trial.create("digits", "class_iid", agent, **options)


def numbers(one, places, store):
    run(one, 0, places, Machine(store=store))
    folder = one.folder(places.results)
    assert json.loads((folder / "env.json").read_text())["store"] == store
    return [(folder / "run0" / name).read_bytes() for name in ("accuracy.csv", "metrics.jsonl")]


@pytest.mark.parametrize(
    ("cut", "kinds"), [("conv4", ["features", "pixels", "none"]), (None, ["pixels", "none"])]
)
def test_numbers_do_not_depend_on_the_store(places, tmp_path, cut, kinds):
    one = trial("ewc" if cut else "er", cut=cut)
    found = [numbers(one, replace(places, results=tmp_path / kind), kind) for kind in kinds]
    assert all(each == found[0] for each in found)


def test_runs_of_a_trial_share_a_store(places):
    one = trial()
    run(one, 0, places, Machine(store="pixels"))
    assert open_run(one, 1, places, Machine()).store == "pixels", "left open, it is that of earlier runs"
    with pytest.raises(InputError, match=r"store: pixels -> none.*\(--store pixels\)"):
        check_machine(one.folder(places.results), Machine(store="none"))


def test_a_store_is_chosen_by_size(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "free_bytes", lambda folder: 10**12)
    small, large = 10**6, 10**12 // 5
    assert stores.by_size(stores.Sizes(1, small, small), tmp_path) == "features"
    assert stores.by_size(stores.Sizes(1, small, 0), tmp_path) == "pixels"
    assert stores.by_size(stores.Sizes(1, small, large), tmp_path) == "pixels"
    assert stores.by_size(stores.Sizes(1, large, large), tmp_path) == "none"
    assert stores.by_size(stores.Sizes(1, large, small), tmp_path) == "features", "decoded on the way, once"
    monkeypatch.setattr(stores, "free_bytes", lambda folder: small)
    assert stores.by_size(stores.Sizes(1, small, small), tmp_path) == "none"


def test_stores_that_cannot_be_are_refused():
    for store, frozen, codebooks, told in (
        ("feature", True, None, "unknown store 'feature': did you mean 'features'"),
        ("features", False, None, "nothing of the network is frozen"),
        ("none", True, 32, "codes are the store of a trial with codebooks"),
    ):
        with pytest.raises(InputError, match=told):
            stores.check_store(store, frozen=frozen, codebooks=codebooks)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"codebooks": 7}, "below 96 that divides"),
        ({"codebooks": 96}, "below 96 that divides"),
        ({"codebooks": 0}, "below 96 that divides"),
        ({"codebooks": 32, "cut": None}, "nothing of the network is frozen"),
        ({"codebooks": 32, "feature_dtype": "bfloat16"}, "codes are bytes"),
    ],
)
def test_codebooks_that_cannot_be_are_refused(options, told):
    with pytest.raises(InputErrorByKey, match=told):
        trial(**options)


@pytest.mark.parametrize("full_at", [0, 1])
def test_a_disk_that_fills_while_codes_are_made_leaves_nothing_half_written(places, monkeypatch, full_at):
    """Space is claimed first for the codebooks, then for the codes; what was whole before is kept."""
    one, claimed = trial(settings={}, codebooks=16, seed=3), []
    claim = os.posix_fallocate
    open_run(trial(settings={}), 0, places, Machine(store="pixels"))

    def full(file, start, length):
        claimed.append(length)
        if len(claimed) > full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        claim(file, start, length)

    def there():
        return {path.name for path in (places.data / "stores").iterdir() if path.is_dir()}

    before = there()
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        open_run(one, full_at, places, Machine())
    assert len(claimed) == full_at + 1
    new = there() - before
    assert [name.split("-")[0] for name in new] == ["codebooks"] * full_at
    monkeypatch.setattr(os, "posix_fallocate", claim)
    opened = open_run(one, full_at, places, Machine())
    assert opened.images[torch.arange(3)].dtype == torch.uint8
    assert there() - before > new or not full_at


def test_codebooks_are_fitted_to_vectors_drawn_from_all_of_the_first_task(places, monkeypatch):
    """Images of which no vector is drawn are not made, which changes none of the vectors."""
    monkeypatch.setattr(product_quantiser, "FITTED", 300)
    fit, fitted, made = product_quantiser.fit, [], []
    monkeypatch.setattr(product_quantiser, "fit", lambda x, m: fitted.append((x, sum(made))) or fit(x, m))
    batches = codes.EncodedImages.batches

    def watched(self, parts):
        for part, x in batches(self, parts):
            made.append(len(part))
            yield part, x

    with monkeypatch.context() as patch:
        patch.setattr(codes.EncodedImages, "batches", watched)
        opened = open_run(trial(settings={}, codebooks=8, seed=5), 0, places, Machine())
    rows = opened.data.stream.tasks[0].rows.unique()
    plain = open_run(trial(settings={}, seed=5), 0, places, Machine(store="none"))
    vectors = plain.images[rows].permute(0, 2, 3, 1).flatten(0, 2)
    ((found, images),) = fitted
    generator = torch.Generator().manual_seed(derive(5, 0, "codebooks"))
    assert torch.equal(found, vectors[product_quantiser.chosen(len(vectors), generator)])
    assert len(found) == 300 and images < len(rows)


def test_codes_are_built_once_and_learned_kept_and_predicted_from(places):
    one = trial(settings={}, codebooks=32)
    assert one.id != trial().id
    opened = open_run(one, 0, places, Machine())
    x = opened.images[torch.arange(3)]
    assert x.dtype == torch.uint8 and x.shape[1] == 32 and opened.trunk.flops > 0
    before = {path.name: path.stat().st_mtime_ns for path in (places.data / "stores").iterdir()}
    open_run(trial("slda", codebooks=32), 0, places, Machine())
    after = {path.name: path.stat().st_mtime_ns for path in (places.data / "stores").iterdir()}
    assert before == after, "shared by agents"
    metrics = run(one, 0, places, Machine(keep_model=True))["metrics"]
    assert metrics["accuracy_last"] > 15, "above chance, 10"
    model = kept.load(one.folder(places.results), torch.device("cpu"))
    row = opened.data.stream.test.rows[:8]
    pixels = opened.data.pixels.inputs(torch.device("cpu"))[row]
    assert torch.equal(model.agent.network.frozen(pixels), opened.images[row])
    assert model.predict(pixels).shape == (8, 10)
