"""Every method trains, is saved, loaded as it serves, and heard in what an engine writes."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from chatui.engine.local import LocalEngine
from chatui.engine.protocol import Sampling
from finetune import methods, reading
from finetune.general import Answer
from finetune.lean import lean
from finetune.likelihood import Said, scores
from finetune.measures import form
from finetune.model import LoadError, attach_version, load_base, load_version
from finetune.settings import TrainSettings
from finetune.train import train_adapter
from tests.chatui.engine.models import text_of
from tests.finetune.test_train import fresh, pair

SAID = [("user", "hello world")]


def logits_of(model, ids) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -ids.shape[1] :]


def greedy(loaded, count: int = 6) -> str:
    ids = loaded.template.prompt(SAID)
    said: list[int] = []
    while len(said) < count:
        token = int(logits_of(loaded.model, torch.tensor([ids + said]))[0, -1].argmax())
        if token in loaded.template.end_ids:
            break
        said.append(token)
    return loaded.template.decode(said)


@pytest.mark.parametrize("method", list(methods.METHODS))
def test_a_method_is_trained_saved_loaded_and_served(method: str, tiny: Path, tmp_path: Path) -> None:
    loaded = fresh(tiny)
    ids = torch.tensor([loaded.template.prompt(SAID)])
    before = logits_of(loaded.model, ids)
    settings = TrainSettings(method=method, epochs=2, learning_rate=5e-2 if method != "full" else 1e-2, lora_rank=4)
    pairs = [pair(n, "hello fox") for n in range(4)]
    trained, _ = train_adapter(loaded, pairs, [], [Answer("hi", "hello", True)], settings, tmp_path, lambda *_: None)
    after = logits_of(trained, ids)
    methods.save(trained, loaded, method, tmp_path / "001")
    found = load_version(tiny, tmp_path / "001", torch.device("cpu"))
    assert (after - before).abs().max() > 1e-2
    assert torch.allclose(logits_of(found.model, ids), after, atol=1e-4)
    assert form(found) == "float32" + ", adapter merged" * methods.METHODS[method].merged
    assert not list((tmp_path / "001").rglob("*.bin"))
    engine = LocalEngine(lambda number, onto=None: load_version(tiny, tmp_path / "001"), form="float32")
    engine.serve({1: 1.0})
    assert text_of(engine.begin(SAID, Sampling(temperature=0, max_new_tokens=6), None)) == greedy(found).rstrip(
        "\ufffd"
    )
    engine.close()


def test_full_training_that_rounds_computes_with_the_weights_as_they_are_now(tiny: Path, tmp_path: Path) -> None:
    loaded = load_base(tiny, torch.bfloat16, torch.device("cpu"))
    settings = TrainSettings(method="full", epochs=6, learning_rate=1e-2, batch_size=2, keep_weight=0, patience=6)
    pairs = [pair(n, "hello fox") for n in range(4)]
    _, told = train_adapter(loaded, pairs, pairs, [], settings, tmp_path, lambda *_: None)
    assert told.validation[-1] < 0.5 * told.validation[0]
    now = scores(loaded, [Said(one.prompt, one.completion, one.ends) for one in pairs])[0]
    assert told.validation[told.kept_epoch - 1] == pytest.approx(now.loss, rel=0.1)


@pytest.mark.parametrize(("epochs", "kept_epoch", "killed_at"), [(6, 2, None), (6, 2, 10), (12, 1, None)])
def test_adalora_is_saved_with_the_ranks_of_the_epoch_that_was_kept(
    epochs: int, kept_epoch: int, killed_at: int | None, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.best.better", lambda state, *_: state.epoch <= kept_epoch)
    settings = TrainSettings(
        method="adalora", epochs=epochs, learning_rate=5e-2, batch_size=2, lora_rank=4, patience=12, keep_weight=0
    )
    steps: list[int] = []

    def trained(progress) -> tuple[Any, Any]:
        loaded, pairs = fresh(tiny), [pair(n, f"hello fox {n}") for n in range(6)]
        model, told = train_adapter(loaded, pairs, [pair(9, "fox")], [], settings, tmp_path, progress, resume=True)
        assert told.kept_epoch == kept_epoch
        return model, loaded

    def watch(step: int, *_: object) -> None:
        steps.append(step)
        if step == killed_at and len(steps) == step:
            raise InterruptedError

    if killed_at:
        with pytest.raises(InterruptedError):
            trained(watch)
    model, loaded = trained(watch)
    ids = torch.tensor([loaded.template.prompt(SAID)])
    expected = logits_of(model, ids)
    methods.save(model, loaded, "adalora", tmp_path / "001")
    found = load_version(tiny, tmp_path / "001", torch.device("cpu"))
    assert torch.allclose(logits_of(found.model, ids), expected, atol=1e-4)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_adalora_trains_and_loads_at_any_rank(rank: int, tiny: Path, tmp_path: Path) -> None:
    loaded, pairs = fresh(tiny), [pair(n, "hello fox") for n in range(6)]
    settings = TrainSettings(method="adalora", epochs=5, batch_size=2, lora_rank=rank, keep_weight=0)
    trained, told = train_adapter(loaded, pairs, [], [], settings, tmp_path, lambda *_: None)
    assert told.steps == 15
    ids = torch.tensor([loaded.template.prompt(SAID)])
    expected = logits_of(trained, ids)
    methods.save(trained, loaded, "adalora", tmp_path / "001")
    found = load_version(tiny, tmp_path / "001", torch.device("cpu"))
    assert torch.allclose(logits_of(found.model, ids), expected, atol=1e-4)


@pytest.mark.parametrize("method", list(methods.METHODS))
def test_a_method_is_computed_again_with_less_memory_or_says_that_there_is_none(
    method: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = reading.reply_logits

    def scarce(model, batch, **inputs):
        if model.training and not loaded.model.is_gradient_checkpointing:
            raise torch.OutOfMemoryError
        return read(model, batch, **inputs)

    monkeypatch.setattr(reading, "reply_logits", scarce)
    loaded, settings = fresh(tiny), TrainSettings(method=method, epochs=2, lora_rank=4)
    expected = pytest.raises(torch.OutOfMemoryError) if method == "prefix" else nullcontext()
    with expected:
        train_adapter(loaded, [pair(1, "fox")], [], [], settings, tmp_path, lambda *_: None)


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_virtual_tokens_follow_the_model_to_another_type(method: str, tiny: Path, tmp_path: Path) -> None:
    loaded = fresh(tiny)
    methods.save(methods.adapt(loaded, TrainSettings(method=method), 2), loaded, method, tmp_path / "001")
    model = load_version(tiny, tmp_path / "001", torch.device("cpu")).model
    ids = torch.tensor([loaded.template.prompt(SAID)])
    before = logits_of(model, ids)
    assert torch.allclose(logits_of(model.to(torch.bfloat16), ids).float(), before, atol=0.1 * float(before.std()))


@pytest.mark.parametrize("method", ["prompt", "bottleneck"])
def test_what_needs_a_model_of_its_own_says_so_where_there_is_no_memory_for_it(method, tiny, tmp_path) -> None:
    loaded = fresh(tiny)
    model = methods.adapt(loaded, TrainSettings(method=method), 2)
    methods.save(model, loaded, method, tmp_path / "001")
    with pytest.raises(LoadError, match="needs a model of its own"):
        attach_version(fresh(tiny), tmp_path / "001")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lean_products_give_what_peft_gives(tiny: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    loaded = load_base(tiny, dtype=dtype, device=torch.device("cpu"))
    model = methods.adapt(loaded, TrainSettings(lora_rank=4), 2)
    adapter = [p for p in model.parameters() if p.requires_grad]
    for weight in adapter:
        torch.nn.init.normal_(weight, std=0.1)
    ids = torch.randint(3, 200, (2, 9))

    def out_and_gradients() -> list[torch.Tensor]:
        logits = model(input_ids=ids).logits.float()
        return [logits, *torch.autograd.grad(logits.logsumexp(-1).sum(), adapter)]

    plain = out_and_gradients()
    with lean(model):
        quick = out_and_gradients()
    assert all("forward" not in vars(module) for module in model.modules())
    error = 1e-5 if dtype == torch.float32 else 0.08
    for one, other in zip(plain, quick, strict=True):
        assert torch.linalg.norm(one - other) <= error * torch.linalg.norm(one) + 1e-6
