"""Every way to compute a model says the same as transformers' own code, or does not serve."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from chatui.engine import fitting
from chatui.engine.decoder import Decoder
from chatui.engine.exam import Exam
from chatui.engine.fitting import fit
from chatui.engine.kernels import Packed, Tuned, on_grid, pack_int4, pack_int8
from chatui.engine.protocol import Sampling
from chatui.engine.stock import Stock
from finetune.model import load_version
from tests.chatui.engine.models import GREEDY, HELLO, engine_of, loaded_from, written
from tests.tiny import make_tiny

KINDS = {
    "llama": ({}, Decoder),
    "qwen3": ({"head_dim": 8}, Decoder),
    "qwen2": ({}, Decoder),
    "mistral": ({"sliding_window": 24}, Stock),
    "gemma": ({"head_dim": 8}, Stock),
    "olmo2": ({}, Stock),
    "gemma2": ({"head_dim": 8, "attn_logit_softcapping": 5.0}, type(None)),
}


@pytest.fixture(scope="module")
def tiny_of(tmp_path_factory: pytest.TempPathFactory):
    """Make a tiny model of a kind, once."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            made[kind] = make_tiny(tmp_path_factory.mktemp(kind), context=512, kind=kind, **KINDS[kind][0])
        return made[kind]

    return make


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_model_of_any_kind_writes_what_transformers_writes(kind: str, tiny_of) -> None:
    folder = tiny_of(kind)
    loaded, engine = loaded_from(folder), engine_of({0: folder})
    engine.serve({0: 1.0})
    prompt = [("user", "the quick brown fox " * 6)]
    ids = torch.tensor([loaded.template.prompt(prompt)])
    with torch.inference_mode():
        out = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
    alone = loaded.template.decode(out[0, ids.shape[1] :]).rstrip("\ufffd")
    begun = [engine.begin(prompt, GREEDY), engine.begin(HELLO, GREEDY), engine.begin(prompt, GREEDY)]
    steps = [iter(generation) for generation in begun]
    for step in steps:
        next(step)
    assert [["", *step][-1] for step in steps][0::2] == [alone, alone]
    assert type(fit(loaded, "float32")) is KINDS[kind][1]
    engine.close()


def test_a_way_that_says_something_else_does_not_serve(tiny_of, monkeypatch, caplog) -> None:
    class Wrong(Decoder):
        def logits(self, ids, pieces, at):
            return super().logits(ids, pieces, at).roll(1, -1)

    monkeypatch.setattr(fitting, "Decoder", Wrong)
    assert type(fit(loaded_from(tiny_of("llama")), "float32")) is Stock
    assert "Computed as float32 the model is not the same" in caplog.text


def test_the_exam_tells_a_reading_from_a_writing_fault(tiny_of) -> None:
    """One that forgets what it has read fails, though it reads each prompt rightly."""

    class Forgetful(Decoder):
        def logits(self, ids, pieces, at):
            if ids.shape[1] == 1:
                for piece in pieces:
                    piece.slab.kv.zero_()
            return super().logits(ids, pieces, at)

    loaded = loaded_from(tiny_of("llama"))
    exam = Exam(loaded)
    assert exam.marks(Decoder(loaded.model, "float32")).apart < 1e-4
    assert exam.marks(Forgetful(loaded.model, "float32")).apart > 0.3


@pytest.mark.parametrize(("pack", "most"), [(pack_int8, 0.02), (pack_int4, 0.15)])
def test_packed_weights_compute_the_same_for_few_rows_and_for_many(pack, most: float) -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 96) * 0.02
    layer, x = Packed(weight, torch.ones(64), pack, rows=4), torch.randn(9, 96).bfloat16()
    exact = x.float() @ weight.T + 1
    for rows in (1, 4, 5, 9):
        assert float((layer(x[:rows]).float() - exact[:rows]).std()) < most * float(exact.std())
    few, many = layer(x[:4]).float(), layer(x)[:4].float()
    assert float((few - many).abs().max()) < 0.02


def test_a_neighbour_does_not_move_a_row() -> None:
    torch.manual_seed(0)
    layer, x = Packed(torch.randn(64, 96) * 0.02, None, pack_int8, rows=4), torch.randn(2, 96).bfloat16()
    loud = x.clone()
    loud[1] *= 1000
    assert torch.equal(layer(x)[0], layer(loud)[0])


def test_weights_that_came_from_four_bits_are_told_from_others() -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 96) * 0.02
    assert not on_grid(weight)
    assert on_grid(pack_int4(weight)[1])
    assert not on_grid(torch.randn(64, 40))


def test_what_training_added_stands_beside_weights_that_came_from_four_bits(tiny_of, tmp_path: Path) -> None:
    """So a tuned version of such a base is as small as the base, and says what the merged one says."""
    torch.manual_seed(3)
    base = loaded_from(tiny_of("llama"))
    with torch.no_grad():
        for name, weight in base.model.named_parameters():
            if "proj" in name:
                weight.copy_(pack_int4(weight)[1])
    base.model.save_pretrained(tmp_path / "base")
    base.template.tokenizer.save_pretrained(tmp_path / "base")
    targets = ["q_proj", "v_proj", "gate_proj", "down_proj"]
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(base.model, config).save_pretrained(tmp_path / "version" / "adapter")
    merged = load_version(tmp_path / "base", tmp_path / "version", torch.device("cpu"))
    before = loaded_from(tmp_path / "base").model.state_dict()
    for path, (up, down) in merged.low_rank.items():
        moved = merged.model.get_submodule(path).weight - before[f"{path}.weight"]
        assert torch.allclose(up @ down, moved, atol=1e-5)
    assert len(merged.low_rank) == 4 * 2
    layer = Decoder(merged.model, "int4", merged.low_rank).layers[0]
    assert [type(part) for part in (layer.qkv, layer.out, layer.gate_up, layer.down)] == [Tuned, Packed, Tuned, Tuned]
    exam = Exam(merged)
    beside = exam.marks(Decoder(merged.model, "int4", merged.low_rank)).apart
    assert beside < 0.7 * exam.marks(Decoder(merged.model, "int4")).apart


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("form", ["float32", "bfloat16"])
def test_every_weight_is_counted_once(tiny: Path, form: str, tied: bool) -> None:
    model = loaded_from(tiny).model
    if not tied:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    network = Decoder(model, form)
    numbers = sum(p.numel() for p in model.parameters() if p.dim() > 1)  # norms are small, and not counted
    assert network.bytes == numbers * (4 if form == "float32" else 2)
    assert (network.embedding.data_ptr() == network.head.weight.data_ptr()) == tied


def test_a_form_that_is_asked_for_is_taken(tiny_of) -> None:
    loaded = loaded_from(tiny_of("llama"))
    assert fit(loaded, "float32").form == "float32"
    assert fit(loaded, "bfloat16").form in ("bfloat16", "float32")


LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [1.0, 4.0, 8.0, 20.0],
    "original_max_position_embeddings": 128,
}


@pytest.mark.parametrize(("kind", "way"), [("llama", Decoder), ("phi3", Stock)])
def test_a_neighbour_at_the_end_of_its_context_does_not_turn_others_tokens_anew(
    kind: str, way: type, tmp_path: Path
) -> None:
    """With longrope one token beyond the original length has all of its step turned by the long factors."""
    more = {"original_max_position_embeddings": 128} if kind == "phi3" else {}
    engine = engine_of({0: make_tiny(tmp_path, context=512, kind=kind, rope_parameters=LONGROPE, **more)})
    engine.serve({0: 1.0})
    alone, long = written(engine), [(role, "the quick brown fox " * 5) for role in ("user", "assistant") * 5]
    longest = iter(engine.begin([*long, *HELLO], Sampling(0.0, max_new_tokens=1000)))
    next(longest)
    assert written(engine) == alone
    assert type(engine._served[0].lane.network) is way
    list(longest)
    engine.close()


def test_neighbours_of_all_lengths_leave_a_reply_as_it_is(tiny_of) -> None:
    """Seats of several capacities, prompts read in several pieces, replies that come and go."""
    folder = tiny_of("llama")
    engine = engine_of({0: folder})
    engine.serve({0: 1.0})
    prompts = [[("user", "the fox " * n)] for n in (1, 40, 120, 3, 60, 7)]
    alone = []
    for prompt in prompts:
        fresh = engine_of({0: folder})
        fresh.serve({0: 1.0})
        alone.append(written(fresh, prompt))
        fresh.close()
    generations = [engine.begin(prompt, GREEDY) for prompt in prompts for _ in range(3)]
    steps = [iter(generation) for generation in generations]
    for step in steps:
        next(step)
    assert [["", *step][-1] for step in steps] == [text for text in alone for _ in range(3)]
    engine.close()
