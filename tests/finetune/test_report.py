"""`python -m finetune evaluate`: a version on any file of rated conversations."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from feedback.errors import BadInput
from feedback.settings import DataSettings
from feedback.store import Store
from feedback.transfer import export_file, import_file
from finetune import measures
from finetune.__main__ import main
from finetune.model import load_template
from finetune.rated_file import fitting, read_rated
from finetune.witnesses import by_question

BEFORE = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "hi", "correction": "hello world", "correction_shown": True, "rating": -1},
    {"role": "user", "content": "and?", "id": "again"},
]
A = {"role": "assistant", "content": "fox", "id": "a"}
B = {"role": "assistant", "content": "box", "id": "b", "finish": "length"}
# A line is one path, so two siblings stand in two lines.
OWN = [
    {"conversation_id": "one", "messages": [*BEFORE, {**A, "rating": 1}, {"role": "user", "content": "thanks"}]},
    {"conversation_id": "one", "messages": [*BEFORE, B], "preferences": [{"chosen": "a", "rejected": "b"}]},
]
KTO = [{"prompt": f"question {n}", "completion": f"answer {n}", "label": n % 2 == 0} for n in range(6)]


def written(path: Path, rows: Iterable[dict[str, Any]], *more: str) -> Path:
    path.write_text("\n".join([*map(json.dumps, rows), *more]))
    return path


def kinds(path: Path) -> list[tuple[str, str]]:
    return sorted((pair.kind, pair.completion) for pair in read_rated(path).pairs)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "rated.jsonl", [*OWN, *KTO], "no json")


@pytest.fixture
def siblings(store: Store) -> tuple[int, str, str]:
    """Two replies to one message that somebody is asked to compare: the comparison, "fox" and "box"."""
    store.add_base("base")
    one, _, fox, box = store.begin_comparison(store.new_conversation(), None, "which?", (0, {}, []), (0, {}, []))
    store.end_reply(fox, "fox", "complete", "end")
    store.end_reply(box, "box", "complete", "end")
    return one, fox, box


def test_every_kind_of_feedback_is_a_good_or_a_bad_reply(tmp_path: Path) -> None:
    pairs = read_rated(written(tmp_path / "own.jsonl", [*OWN, *OWN])).pairs
    assert [(pair.kind, pair.completion, pair.good, pair.ends) for pair in pairs] == [
        ("correction", "hello world", True, True),
        ("corrected", "hi", False, True),
        ("chosen", "fox", True, True),
        ("discarded", "box", False, False),
    ]
    assert {pair.prompt for pair in pairs if pair.kind in ("chosen", "discarded")} == {
        (("user", "hello"), ("assistant", "hello world"), ("user", "and?"))
    }


def test_a_correction_is_shown_in_its_own_branch_alone(tmp_path: Path) -> None:
    other = [
        {"role": "user", "content": "hey"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "and?"},
    ]
    rows = [{"conversation_id": "one", "messages": [*other, {"role": "assistant", "content": "lot", "rating": -1}]}]
    prompts = [pair.prompt[1][1] for pair in read_rated(written(tmp_path / "two.jsonl", [*OWN, *rows])).pairs[2:]]
    assert prompts == ["hello world", "hello world", "hi"]


def test_the_worse_side_of_an_exported_preference_is_measured(
    store: Store, siblings: tuple[int, str, str], tmp_path: Path
) -> None:
    store.prefer(siblings[1], siblings[2])
    export_file(store, tmp_path / "talk.jsonl")
    assert kinds(tmp_path / "talk.jsonl") == [("chosen", "fox"), ("discarded", "box")]


@pytest.mark.parametrize(
    ("outcome", "found"),
    [
        ("left", [("chosen", "fox"), ("discarded", "box")]),
        ("right", [("chosen", "box"), ("discarded", "fox")]),
        ("both_bad", [("discarded", "box"), ("discarded", "fox")]),
    ],
)
def test_both_sides_of_an_exported_comparison_are_measured(
    store: Store, siblings: tuple[int, str, str], tmp_path: Path, outcome: str, found: list[tuple[str, str]]
) -> None:
    store.judge_comparison(siblings[0], outcome)
    export_file(store, tmp_path / "talk.jsonl")
    assert kinds(tmp_path / "talk.jsonl") == found


def asked(messages: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "conversation_id": "one",
        "messages": [{"role": "user", "content": "which?", "id": "asked"}, *messages],
        **more,
    }


def test_a_file_of_comparisons_alone_is_measured_unless_all_are_ties(tmp_path: Path) -> None:
    compared = {"left": "a", "right": "b"}
    rows = [asked([A]), asked([B], comparisons=[{**compared, "outcome": "right"}])]
    assert kinds(written(tmp_path / "better.jsonl", rows)) == [("chosen", "box"), ("discarded", "fox")]
    rows[1]["comparisons"][0]["outcome"] = "tie"
    with pytest.raises(BadInput, match="holds no reply with"):
        read_rated(written(tmp_path / "tie.jsonl", rows))


def test_what_raters_disagree_about_is_neither_good_nor_bad(tmp_path: Path) -> None:
    rows = [asked([{**A, "rating": value}], rater=rater) for rater, value in (("ann", 1), ("ben", -1))]
    read = read_rated(written(tmp_path / "both.jsonl", [*rows, *KTO[:1]]))
    assert ([pair.completion for pair in read.pairs], read.undecided) == (["answer 0"], {"disputed": 1})
    with pytest.raises(BadInput, match=r"whether it is good; disputed: 1\.$"):
        read_rated(written(tmp_path / "disputed.jsonl", rows))


@pytest.mark.parametrize(("ups", "left"), [(1, []), (2, [("thumb_up", "it is so")])])
def test_rows_that_contradict_each_other_leave_what_most_said(
    tmp_path: Path, ups: int, left: list[tuple[str, str]]
) -> None:
    same = {"prompt": "why?", "completion": "it is so"}
    rows = [{**same, "label": False}, *[{**same, "label": True}] * ups, *KTO[:1]]
    read = read_rated(written(tmp_path / "rows.jsonl", rows))
    assert [(pair.kind, pair.completion) for pair in read.pairs] == [*left, ("thumb_up", "answer 0")]
    assert read.undecided == {"contradiction": 1 if left else 2}


def test_what_a_reviewer_rejected_is_not_measured(tmp_path: Path) -> None:
    rows = [asked([{**A, "rating": 1, "review": "rejected"}]), asked([{**B, "review": "approved"}])]
    read = read_rated(written(tmp_path / "reviewed.jsonl", rows))
    assert [(pair.kind, pair.completion) for pair in read.pairs] == [("approved", "box")]
    assert read.undecided == {"reviewer_rejected": 1}


def test_a_bad_line_is_told_as_an_import_tells_it(store: Store, tmp_path: Path) -> None:
    path = written(tmp_path / "bad.jsonl", [*OWN, asked([A], preferences=[{"chosen": "a", "rejected": "z"}])], "{")
    bad = read_rated(path).bad
    assert [line.number for line in bad] == [3, 4] and "'z', which is not in this conversation" in bad[0].reason
    assert import_file(store, path).bad == bad


def test_bad_lines_and_replies_that_do_not_fit_are_counted(file: Path, tiny: Path) -> None:
    with file.open("a") as out:
        out.write("\n" + json.dumps({"prompt": "x " * 400, "completion": "too long", "label": True}))
    rated = fitting(read_rated(file), load_template(tiny))
    assert (len(rated.pairs), rated.left_out, [line.number for line in rated.bad]) == (10, 1, [9])


def test_who_asks_the_same_is_told_by_the_whole_file(tmp_path: Path, tiny: Path) -> None:
    """What follows three unrelated questions asks nothing, even where the replies to two of them alone are measured."""
    talks = {"Where do herons nest?": "fox", "Who founded Quillworth?": "box", "Which river is longest?": "x " * 400}
    rows = [
        {
            "conversation_id": text,
            "messages": [
                {"role": "user", "content": text},
                {"role": "assistant", "content": "so"},
                {"role": "user", "content": "Kannst du das kürzer fassen?"},
                {"role": "assistant", "content": reply, "rating": 1},
            ],
        }
        for text, reply in talks.items()
    ]
    rated = fitting(read_rated(written(tmp_path / "talks.jsonl", rows)), load_template(tiny))
    assert rated.left_out == 1
    assert len({pair.conversation_id for pair in by_question(rated.pairs)}) == 2


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
    assert (found["data"]["good"], found["data"]["bad"], found["data"]["conversations"]) == (5, 5, 7)
    assert list(store.give_out()) == []
    for name in (
        "correction_loss",
        "chosen_loss",
        "preferred",
        "liked_loss",
        "margin",
        "accuracy",
        "plain_accuracy",
        "general_loss",
        "refusals",
    ):
        assert found["measures"][name]["base"] == found["measures"][name]["version"]
    assert found["measures"]["accuracy"]["base"]["mean"] == 0.5
    assert found["changes"]["general_loss"]["mean"] == 0.0
    with file.open("a") as out:
        out.write("\n" + json.dumps({"prompt": "question 1", "completion": "answer 1", "label": True}))
    assert main(arguments) == 0
    table = capsys.readouterr().out
    assert "plain_accuracy" in table and "Version 0 (float32) on rated.jsonl" in table
    assert "1 bad lines; neither good nor bad: 2 contradiction." in table
    assert main([arguments[0], "7", *arguments[2:]]) == 1


def test_a_version_that_is_not_there_is_told(
    store: Store, data: DataSettings, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "7", f"--data={file}", f"--data-dir={data.data_dir}"]) == 1
    assert "no version 7" in capsys.readouterr().err
