"""`python -m finetune evaluate`: a version on any file of rated conversations."""

import json
from pathlib import Path

import pytest

from feedback.errors import BadInput
from feedback.formats import read_lines
from feedback.settings import DataSettings
from feedback.store import Store
from finetune import measures
from finetune.__main__ import main
from finetune.model import load_template
from finetune.rated_file import fitting, rated_pairs, read_rated

OWN = {
    "conversation_id": "one",
    "messages": [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi", "correction": "hello world", "correction_shown": True, "rating": -1},
        {"role": "user", "content": "and?"},
        {"role": "assistant", "content": "fox", "rating": 1, "id": "a"},
        {"role": "assistant", "content": "box", "id": "b", "finish": "length"},
        {"role": "assistant", "content": "nobody said anything"},
    ],
    "preferences": [{"chosen": "a", "rejected": "b"}],
}
KTO = [{"prompt": f"question {n}", "completion": f"answer {n}", "label": n % 2 == 0} for n in range(6)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rated.jsonl"
    lines = [json.dumps(row) for row in (OWN, OWN, *KTO)] + ["no json"]
    path.write_text("\n".join(lines))
    return path


def test_every_kind_of_feedback_is_a_good_or_a_bad_reply() -> None:
    ((_, incoming),) = read_lines([json.dumps(OWN).encode()])
    found = [(pair.kind, pair.completion, pair.good, pair.ends) for pair in rated_pairs(incoming)]
    assert found == [
        ("correction", "hello world", True, True),
        ("corrected", "hi", False, True),
        ("thumb_up", "fox", True, True),
        ("chosen", "fox", True, True),
        ("discarded", "box", False, False),
    ]
    shown = [pair.prompt for pair in rated_pairs(incoming) if pair.kind == "thumb_up"]
    assert shown == [(("user", "hello"), ("assistant", "hello world"), ("user", "and?"))]


def test_bad_lines_and_replies_that_do_not_fit_are_counted(file: Path, tiny: Path) -> None:
    with file.open("a") as out:
        out.write("\n" + json.dumps({"prompt": "x " * 400, "completion": "too long", "label": True}))
    rated = fitting(read_rated(file), load_template(tiny))
    assert (len(rated.pairs), rated.left_out, [line.number for line in rated.bad]) == (11, 1, [9])


@pytest.mark.parametrize("content", [None, "", '{"messages": [{"role": "user", "content": "hello"}]}'])
def test_a_file_without_feedback_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "empty.jsonl").write_text(content)
    with pytest.raises(BadInput, match=r"empty\.jsonl"):
        read_rated(tmp_path / "empty.jsonl")


def test_a_file_of_unusable_lines_says_how_many_and_why_the_first_is_one(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("not json\n")
    with pytest.raises(BadInput, match=r"; 1 line was unusable, the first of them line 1: is not JSON \(.*\)\.$"):
        read_rated(path)
    path.write_text('\n{"prompt": "a", "completion": "b", "label": "yes"}\n[1]\n')
    with pytest.raises(BadInput, match="; 2 lines were unusable, the first of them line 2: .*label"):
        read_rated(path)


def test_a_file_of_replies_that_are_all_too_long_is_refused(tmp_path: Path, tiny: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps({"prompt": "x " * 400, "completion": "too long", "label": True}))
    with pytest.raises(BadInput, match="No rated reply of the file fits the model, which takes 256 tokens"):
        fitting(read_rated(path), load_template(tiny))


def test_figures_of_a_version_stand_beside_the_bases(
    store: Store,
    data: DataSettings,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(measures, "GENERAL_TOKENS", 4)
    arguments = ["evaluate", "0", f"--data={file}", f"--data-dir={data.data_dir}", f"--base-model={data.base_model}"]
    assert main([*arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out.splitlines()[-1])
    assert "line 9" in err
    assert (found["data"]["good"], found["data"]["bad"], found["data"]["conversations"]) == (6, 5, 7)
    for name in ("correction_loss", "liked_loss", "margin", "accuracy", "plain_accuracy", "general_loss", "refusals"):
        assert found["measures"][name]["base"] == found["measures"][name]["version"]
    assert found["measures"]["accuracy"]["base"]["mean"] == 0.5
    assert found["changes"]["general_loss"]["mean"] == 0.0
    assert main(arguments) == 0
    table = capsys.readouterr().out
    assert "plain_accuracy" in table and "Version 0 (float32) on rated.jsonl" in table
    assert main([arguments[0], "7", *arguments[2:]]) == 1


def test_a_version_that_is_not_there_is_told(
    store: Store, data: DataSettings, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "7", f"--data={file}", f"--data-dir={data.data_dir}"]) == 1
    assert "no version 7" in capsys.readouterr().err
