"""Where two copies of a model do not fit, versions are served as adapters on one base, and write the same."""

import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import torch as safetensors

from chatui.engine.budget import Budget
from chatui.engine.local import LocalEngine
from chatui.engine.protocol import EngineError
from chatui.engine.stock import Stock
from finetune.model import LoadError, attach_version, load_version
from tests.chatui.engine.models import GREEDY, HELLO, loaded_from, text_of, written
from tests.chatui.scripted import wait_for
from tests.tiny import make_tiny


def adapters_of(model: Path, folder: Path) -> dict[int, Path]:
    """Make three adapters of random weights, far enough from the base to be heard."""
    for number in (1, 2, 3):
        torch.manual_seed(number)
        config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
        get_peft_model(loaded_from(model).model, config).save_pretrained(folder / str(number) / "adapter")
    return {number: folder / str(number) for number in (1, 2, 3)}


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> dict[int, Path]:
    """Three adapters of random weights, far enough from the base to be heard; and a whole model."""
    folder = tmp_path_factory.mktemp("versions")
    loaded_from(tiny).model.save_pretrained(folder / "4" / "model")
    return adapters_of(tiny, folder) | {4: folder / "4"}


LEAST = 64 * 2**20  # bytes of caches without which nothing is served


def engine_on(tiny: Path, versions: dict[int, Path], **settings) -> LocalEngine:
    def load(number: int, onto=None):
        return attach_version(onto, versions[number]) if onto and number else load_version(tiny, versions.get(number))

    return LocalEngine(load, **{"form": "float32", **settings})


def written_at_once(engine: LocalEngine) -> dict[int, str]:
    """Return what versions 0, 1 and 2 write while all three write."""
    begun = {n: iter(engine.begin(HELLO, GREEDY, stay_with=n)) for n in (0, 1, 2)}
    for steps in begun.values():
        next(steps)
    return {n: ["", *steps][-1] for n, steps in begun.items()}


def test_adapters_on_one_base_write_what_merged_versions_write(tiny, versions, monkeypatch, caplog) -> None:
    merged = engine_on(tiny, versions)
    merged.serve({0: 0.25, 1: 0.25, 2: 0.5})
    texts = {n: written(merged, stay_with=n) for n in (0, 1, 2)}
    assert len(set(texts.values())) == 3
    monkeypatch.setattr(Budget, "holds_two", lambda *_: False)
    shared = engine_on(tiny, versions)
    shared.serve({1: 1.0})
    assert "no memory for a second copy of the model" in caplog.text
    assert written(shared) == texts[1]
    shared.serve({0: 0.25, 1: 0.25, 2: 0.5})
    assert written_at_once(shared) == texts
    networks = [one.lane.network for one in shared._served.values()]
    assert all(type(network) is Stock for network in networks)
    assert len({id(network.model) for network in networks}) == 1
    merged.close()
    shared.close()


def test_a_promotion_on_a_shared_base_lets_replies_end_where_they_began(tiny, versions, monkeypatch) -> None:
    monkeypatch.setattr(Budget, "holds_two", lambda *_: False)
    engine = engine_on(tiny, versions)
    engine.serve({1: 1.0})
    alone = written(engine)
    generation = engine.begin(HELLO, GREEDY)
    steps = iter(generation)
    next(steps)
    engine.serve({3: 1.0})
    assert [*steps][-1] == alone
    assert written(engine) != alone
    assert [name.split("-")[0] for name in engine._shared.model.peft_config] == ["3"]
    with pytest.raises(EngineError, match="Version 4 cannot serve: .*whole model, and there is no memory"):
        engine.serve({4: 1.0})
    assert text_of(engine.begin(HELLO, GREEDY)) and engine.state().versions == (3,)
    engine.close()


def test_a_broken_adapter_is_one_sentence_and_spoils_no_base(tiny, tmp_path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{")
    shared = loaded_from(tiny)
    with pytest.raises(LoadError, match="cannot be loaded"):
        attach_version(shared, tmp_path)
    shared.activate()


def of_a_wrong_shape(weights: bytes) -> bytes:
    """Return an adapter file with one tensor of another shape, after others that fit."""
    tensors = safetensors.load(weights)
    name = sorted(tensors)[len(tensors) // 2]
    return safetensors.save(tensors | {name: torch.zeros(7, 9)}, {"format": "pt"})


def without_a_tensor(weights: bytes) -> bytes:
    """Return an adapter file that one tensor is missing from."""
    tensors = safetensors.load(weights)
    del tensors[sorted(tensors)[len(tensors) // 2]]
    return safetensors.save(tensors, {"format": "pt"})


DAMAGES = {
    "empty": lambda _: b"",
    "broken": lambda _: b"broken",
    "cut": lambda w: w[:-100],
    "shape": of_a_wrong_shape,
    "lacking": without_a_tensor,
}


@pytest.fixture(params=["gone", *DAMAGES])
def damaged(versions, tmp_path, request) -> Path:
    """A version whose adapter file is gone, empty, broken or cut, or has a tensor of another shape, or lacks one."""
    shutil.copytree(versions[1] / "adapter", tmp_path / "1" / "adapter")
    file = tmp_path / "1" / "adapter" / "adapter_model.safetensors"
    file.unlink() if request.param == "gone" else file.write_bytes(DAMAGES[request.param](file.read_bytes()))
    return tmp_path / "1"


@pytest.mark.parametrize("beside", [False, True])
def test_an_adapter_whose_weights_cannot_be_read_leaves_no_layers(tiny, versions, damaged, beside) -> None:
    """It is tried again every half minute, each time under another name."""
    shared, ids = loaded_from(tiny), torch.arange(5)[None]
    alone = shared.model(ids).logits
    held = [attach_version(shared, versions[2])] if beside else []
    before = sum(p.nbytes for p in shared.model.parameters())
    for _ in range(2):
        with pytest.raises(LoadError, match="cannot be loaded"):
            attach_version(shared, damaged)
    assert sum(p.nbytes for p in shared.model.parameters()) == before
    assert list(getattr(shared.model, "peft_config", {})) == [one.adapter for one in held]
    for one in [*held, shared]:
        one.activate()
    assert torch.equal(shared.model(ids).logits, alone)
    attach_version(shared, versions[1]).activate()
    assert torch.allclose(shared.model(ids).logits, load_version(tiny, versions[1]).model(ids).logits, atol=1e-5)


def test_an_adapter_whose_weights_cannot_be_read_is_one_sentence_where_it_has_its_own_base(tiny, damaged) -> None:
    with pytest.raises(LoadError, match=f"The adapter in {str(damaged)!r} cannot be loaded: "):
        load_version(tiny, damaged)


def test_a_limit_that_no_model_fits_is_one_sentence(tiny, versions) -> None:
    engine = engine_on(tiny, versions, memory_gb=0.03)
    with pytest.raises(EngineError, match=r"--engine-memory 0.03 is too little: the model needs 0.06 GiB"):
        engine.serve({0: 1.0})
    assert engine.state().phase == "failed"
    engine.close()


def test_the_limit_counts_the_shared_base_whoever_serves(tiny, versions) -> None:
    """As one copy fits and a second does not, the base takes its share whichever version came first and left first."""
    size = Stock(loaded_from(tiny).model).bytes
    limit = LEAST + int(1.5 * size)
    engine = engine_on(tiny, versions, memory_gb=limit / 2**30)
    for shares in ({0: 1.0}, {1: 1.0}, {2: 0.5, 3: 0.5}, {0: 1.0}):
        engine.serve(shares)
        wait_for(lambda: len(engine._loop._lanes) == len(engine._served))
        assert engine._shared and text_of(engine.begin(HELLO, GREEDY))
        adapters = engine._loop.call(lambda: Stock(engine._shared.model).bytes) - size
        wait_for(lambda adapters=adapters: engine._loop.memory == limit - size - adapters)
    engine.close()


def test_an_engine_that_starts_within_an_ab_test_counts_the_base_once(tiny, versions) -> None:
    size = Stock(loaded_from(tiny).model).bytes
    engine = engine_on(tiny, versions, memory_gb=(LEAST + 1.5 * size) / 2**30)
    engine.serve({1: 0.5, 2: 0.5})
    assert LEAST <= engine._loop.memory < LEAST + 0.5 * size
    assert written(engine, stay_with=1) != written(engine, stay_with=2)
    engine.close()


def test_an_adapter_that_the_limit_has_no_room_for_leaves_what_served(tiny, versions) -> None:
    size = Stock(loaded_from(tiny).model).bytes
    engine = engine_on(tiny, versions, memory_gb=(LEAST + size + 1000) / 2**30)
    engine.serve({0: 1.0})
    before = written(engine)
    with pytest.raises(EngineError, match="Version 1 cannot serve: --engine-memory .* is too little"):
        engine.serve({1: 1.0})
    assert engine._loop.memory == LEAST + 1000
    assert engine.state().versions == (0,)
    assert Stock(engine._shared.model).bytes == size
    assert written(engine) == before
    engine.close()


def test_a_version_promoted_again_while_it_is_still_written_keeps_its_adapter(tiny, versions, monkeypatch) -> None:
    monkeypatch.setattr(Budget, "holds_two", lambda *_: False)
    engine = engine_on(tiny, versions)
    engine.serve({1: 1.0})
    alone = written(engine)
    steps = iter(engine.begin(HELLO, GREEDY))
    next(steps)
    engine.serve({0: 1.0})
    engine.serve({1: 1.0})
    assert [*steps][-1] == alone  # its first spell ends here, and takes its own adapter along
    wait_for(lambda: len(engine._shared.model.peft_config) == 1)
    assert written(engine) == alone
    engine.serve({0: 1.0})
    assert written(engine) != alone
    engine.close()


def test_a_model_that_is_not_computed_in_batches_shares_a_base_too(tmp_path, monkeypatch) -> None:
    """Its replies take turns, each with its own version's adapter."""
    soft_cap = {"head_dim": 8, "attn_logit_softcapping": 5.0}
    base = make_tiny(tmp_path / "base", context=512, kind="gemma2", **soft_cap)
    versions = adapters_of(base, tmp_path)
    merged = engine_on(base, versions)
    merged.serve({0: 0.25, 1: 0.25, 2: 0.5})
    texts = {n: written(merged, stay_with=n) for n in (0, 1, 2)}
    assert len(set(texts.values())) == 3
    merged.close()
    monkeypatch.setattr(Budget, "holds_two", lambda *_: False)
    shared = engine_on(base, versions)
    shared.serve({1: 1.0})
    assert written(shared) == texts[1]
    shared.serve({0: 0.25, 1: 0.25, 2: 0.5})
    assert written_at_once(shared) == texts
    assert {id(one.lane.model) for one in shared._served.values()} == {id(shared._shared.model)}
    shared.close()


def test_a_shared_base_sits_the_exam_like_any_other(tiny, versions, monkeypatch) -> None:
    """What batches would compute otherwise than transformers does is computed reply by reply."""
    right = engine_on(tiny, versions)
    right.serve({0: 0.5, 1: 0.5})
    texts = [written(right, stay_with=n) for n in (0, 1)]
    right.close()
    computed = Stock.logits
    monkeypatch.setattr(Stock, "logits", lambda self, *given: computed(self, *given).roll(1, -1))
    monkeypatch.setattr(Budget, "holds_two", lambda *_: False)
    engine = engine_on(tiny, versions)
    engine.serve({0: 0.5, 1: 0.5})
    assert [written(engine, stay_with=n) for n in (0, 1)] == texts
    engine.close()


def test_on_a_shared_base_it_is_said_that_the_form_asked_for_is_not_taken(tiny, versions, monkeypatch, caplog) -> None:
    monkeypatch.setattr(Budget, "holds_two", lambda *_: False)
    engine = engine_on(tiny, versions, form="int8")
    engine.serve({1: 1.0})
    assert "as they were loaded: --weights int8 is not taken" in caplog.text
    engine.close()
