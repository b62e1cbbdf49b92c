from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from finetune.model import IGNORED, Diverged, LoadError, TemplateRefuses, load_base, load_template, load_version
from tests.tiny import make_tiny

HELLO = (("user", "hello world"),)


@pytest.fixture(scope="module")
def loaded(tiny: Path):
    return load_base(tiny, dtype=torch.float32, device=torch.device("cpu"))


def test_only_the_completion_and_its_end_carry_loss(loaded) -> None:
    row = loaded.template.pair(HELLO, "the fox", ends=True)
    carried = [token for token, label in zip(row.ids, row.labels, strict=True) if label != IGNORED]
    prompt = loaded.template.prompt(HELLO)
    assert row.ids[: len(prompt)] == prompt
    assert row.labels[: len(prompt)] == [IGNORED] * len(prompt)
    assert loaded.template.decode(carried) == "the fox"
    assert carried[-1] == loaded.template.end_of_turn


def test_a_reply_that_was_cut_off_does_not_teach_to_stop(loaded) -> None:
    row = loaded.template.pair(HELLO, "the fox", ends=False)
    assert loaded.template.end_of_turn not in row.ids[len(loaded.template.prompt(HELLO)) :]


def test_end_of_turn_is_the_token_the_template_writes_after_a_reply(loaded) -> None:
    assert loaded.template.tokenizer.convert_ids_to_tokens(loaded.template.end_of_turn) == "<|end|>"


def test_text_survives_encoding_and_decoding(loaded) -> None:
    text = "  two spaces,\ttab\nnew line, 你好, 🦊 "
    row = loaded.template.pair(HELLO, text, ends=False)
    assert loaded.template.decode([i for i, label in zip(row.ids, row.labels, strict=True) if label != IGNORED]) == text


def test_what_the_template_refuses_is_one_sentence(loaded) -> None:
    with pytest.raises(TemplateRefuses, match="cannot begin with a reply"):
        loaded.template.prompt([("assistant", "hi"), ("user", "hello")])


ROPES = {
    "none": ({}, 256),
    "longrope": ({"short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "original_max_position_embeddings": 64}, 64),
    "dynamic": ({"factor": 4.0}, 256),
    "yarn": ({"factor": 4.0, "original_max_position_embeddings": 64}, 256),
}


@pytest.mark.parametrize("kind", list(ROPES))
def test_a_model_is_read_up_to_where_it_turns_every_token_anew(kind: str, tmp_path: Path) -> None:
    settings, context = ROPES[kind]
    more = {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **settings}} if settings else {}
    template = load_template(make_tiny(tmp_path, **more))
    assert (template.context, template.longest) == (context, 256)


def test_a_folder_without_a_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="cannot be loaded") as caught:
        load_base(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "bare")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(LoadError, match="no chat template"):
        load_base(folder)


def test_weights_that_are_not_safetensors_are_not_loaded(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "pickled")
    state = load_base(folder).model.state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(LoadError):
        load_base(folder)


def test_a_broken_adapter_is_one_sentence(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "001" / "adapter").mkdir(parents=True)
    with pytest.raises(LoadError, match="001"):
        load_version(tiny, tmp_path / "001")


def test_an_adapter_diverged_only_if_its_weights_are_not_finite(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = get_peft_model(load_base(tiny).model, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    tuned.save_pretrained(tmp_path / "sound" / "adapter")
    with torch.no_grad():
        next(weight for name, weight in tuned.named_parameters() if "lora_B" in name).fill_(torch.nan)
    tuned.save_pretrained(tmp_path / "spoilt" / "adapter")
    with pytest.raises(Diverged, match="NaN"):
        load_version(tiny, tmp_path / "spoilt")

    def no_memory(*args: object, **more: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(PeftModel, "from_pretrained", no_memory)
    with pytest.raises(LoadError, match="out of memory") as caught:
        load_version(tiny, tmp_path / "sound")
    assert not isinstance(caught.value, Diverged)


def test_a_template_alone_is_the_one_that_comes_with_the_model(loaded, tiny: Path, tmp_path: Path) -> None:
    alone = load_template(tiny)
    assert alone.prompt(HELLO) == loaded.template.prompt(HELLO)
    assert (alone.context, alone.end_ids, alone.end_of_turn) == (
        256,
        loaded.template.end_ids,
        loaded.template.end_of_turn,
    )
    with pytest.raises(LoadError, match="tokenizer in .* cannot be loaded"):
        load_template(tmp_path)
