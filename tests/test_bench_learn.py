"""What the learning benchmarks are made of: facts that luck does not find, rules, a scorer that counts right."""

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import lessons
from bench.companies import company
from bench.general_answers import GENERAL
from bench.learners import encode, kto_rows, pad
from bench.lessons import Pair, Told
from bench.rows import Rows
from bench.samples import Sample, Samples
from bench.scorer import Said, Scorer, auc, best_cut, telling
from bench.subject import ROOT
from bench.tastes import TASTES, thumbs
from bench.watched import watched
from feedback.store import Store
from feedback.transfer import import_file
from finetune.general import ANCHORS
from tests.near import near


@pytest.fixture(scope="module")
def scorer(tiny: Path) -> Scorer:
    return Scorer.of(tiny, batch=3)


@pytest.mark.parametrize("seed", range(1, 40))
def test_no_key_of_a_company_is_found_by_luck(seed: int) -> None:
    facts = company(seed).facts
    texts = [text for fact in facts for text in (*fact.taught, *fact.asked)]
    assert len(facts) == 24
    assert len(set(texts)) == 24 * 6
    for fact in facts:
        assert [fact.key.lower() in other.answer.lower() for other in facts].count(True) == 1
        assert fact.key in fact.answer
        assert not any(fact.key.lower() in text.lower() for text in texts)


def test_companies_differ_by_seed_in_facts_and_wordings() -> None:
    one, again, other = company(1), company(1), company(2)
    assert one == again
    assert len({f.key for f in one.facts} & {f.key for f in other.facts}) <= 4  # a weekday may come twice
    bare = [{text.replace(c.name, "") for f in c.facts for text in f.taught} for c in (one, other)]
    assert len(bare[0] & bare[1]) < 0.6 * len(bare[0])


def test_general_prompts_of_the_bench_are_nobodys_training() -> None:
    assert [(one, prompt) for one in ANCHORS for prompt, _ in GENERAL if near(one, prompt)] == []


def test_the_scorers_loss_is_the_mean_over_the_replys_tokens_whatever_stands_beside_it(scorer: Scorer) -> None:
    said = [
        Said([("user", "hello")], "world", ends=True),
        Said([("user", "the quick brown fox says hello hello")], "the fox", ends=False),
        Said([("system", "user"), ("user", "hi")], "hello world, hello fox", ends=True),
        Said([("user", "x")], "y", ends=False),
    ]
    for each, loss in zip(said, scorer.losses(said), strict=True):
        before, reply = scorer._row(each)
        with torch.inference_mode():
            logits = scorer.model(input_ids=torch.tensor([before + reply])).logits[0].float().log_softmax(-1)
        wanted = -sum(logits[len(before) - 1 + i, token] for i, token in enumerate(reply)) / len(reply)
        assert loss == pytest.approx(float(wanted), abs=1e-4)
    assert scorer._row(said[0])[1][-1] == scorer.tokenizer.eos_token_id
    assert scorer._row(said[1])[1][-1] != scorer.tokenizer.eos_token_id


def test_a_reply_written_in_a_batch_is_the_one_written_alone(scorer: Scorer) -> None:
    prompts = [[("user", text)] for text in ("hello", "the quick brown fox is here", "a", "world world world")]
    together = scorer.write(prompts, 12)
    assert together == [scorer.write([prompt], 12)[0] for prompt in prompts]
    assert len(set(together)) > 1


def test_what_losses_tell_of_good_and_bad() -> None:
    assert auc([1.0, 2.0], [3.0, 2.0]) == 0.875
    assert 1.2 < best_cut([1.0, 1.2, 3.0], [2.0, 2.5]) < 2.0
    sides, names = [True] * 30 + [False] * 30, [str(place) for place in range(60)]
    sure = telling([1.0] * 30 + [2.0] * 30, sides, names)
    assert (sure.good, sure.bad, sure.auc_low, sure.auc_high, sure.accuracy) == (30, 30, 1.0, 1.0, 1.0)
    dice = random.Random(5)
    blind = telling([dice.random() for _ in sides], sides, names)
    assert blind.auc_low < 0.5 < blind.auc_high
    assert blind.accuracy < 0.65  # cuts come from other conversations, so luck is not taken for skill
    paired = telling([dice.random() for _ in sides], sides, [name[-1] for name in names])
    assert paired.auc_high - paired.auc_low > 0.1


@pytest.mark.parametrize(
    ("taste", "reply", "kept"),
    [
        ("short", "word " * 50, True),
        ("short", "word " * 51, False),
        ("short", "  ", False),
        ("no-lists", "First one thing, then 2) another - and no list.", True),
        ("no-lists", "Three things:\n- one\n- two", False),
        ("no-lists", "1. Smile.", False),
        ("no-lists", "One paragraph.\n\nAnother one.", False),
        ("question", "Fine. And you?", True),
        ("question", 'He asked: "And you?"\n', True),
        ("question", "You ask why? I do not know.", False),
    ],
)
def test_a_taste_is_kept_by_rule(taste: str, reply: str, kept: bool) -> None:
    assert TASTES[taste].keeps(reply) == kept


def test_what_is_thumbed_is_not_what_is_tested() -> None:
    for taste in TASTES.values():
        assert len(taste.thumbed) == len({*taste.thumbed}) == 100
        assert len(taste.unseen) == len({*taste.unseen}) == 60
        assert not {*taste.thumbed} & {*taste.unseen, *ANCHORS}


def test_thumbs_fall_as_the_taste_has_it_and_enough_of_them_are_up() -> None:
    short = TASTES["short"]
    replies = [Sample(str(n), "word " * (10 if n % 6 == 0 else 60), True) for n in range(300)]
    given = thumbs(short, replies, seed=1)
    assert (len(given), sum(up for _, up in given)) == (150, 40)  # by chance 25 of 150 would be up
    assert all(short.keeps(sample.reply) == up for sample, up in given)
    assert len({sample.prompt for sample, _ in given}) == 150
    many = [Sample(str(n), "word " * (10 if n % 2 else 60), True) for n in range(300)]
    assert sum(up for _, up in thumbs(short, many, seed=1)) > 60
    with pytest.raises(ValueError, match="150 thumbs are wanted of 149 replies"):
        thumbs(short, replies[:149], seed=1)


def test_the_base_models_replies_are_made_once(tiny: Path, tmp_path: Path) -> None:
    first = Samples(tiny, tmp_path).sampled(["hello", "fox"], 2, seed=3)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text().replace(first[0].prompt, "goodbye"))
    assert [sample.prompt for sample in first] == ["hello", "fox", "hello", "fox"]
    assert Samples(tiny, tmp_path).sampled(["hello", "fox"], 2, seed=3)[0].prompt == "goodbye"
    assert first[0].reply != first[2].reply


def test_nobody_is_measured_against_a_base_model_that_was_not(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--gpu"])  # else importing it hides GPUs from all other tests
    from bench import learn

    asked = []

    def ask(_: Scorer, before: dict[str, float]) -> dict[str, float]:
        asked.append(before)
        if broken:
            raise ValueError("no")
        return {"kept": 0.5}

    lesson = learn.Lesson("tastes", "short", 1, [], ask)
    monkeypatch.setattr(learn, "lessons_of", lambda *_: iter([lesson]))
    monkeypatch.setattr(learn, "learned", lambda *_: (Scorer.of(tiny), {"minutes": 1.0}))
    monkeypatch.setattr(learn.exam, "GENERAL", GENERAL[:1])
    monkeypatch.setattr(Samples, "greedy", lambda *_: [Sample("hello", "world", True)])

    def rows_of_a_run() -> dict[str, dict[str, Any]]:
        bench = learn.Bench(learn.Setup(tiny, 1, parts=["short"]), Rows(tmp_path / "rows.json", 1))
        bench.take("tastes", 1, ["plain", "trl-sft"])
        return {row["who"]: row for row in bench.rows.all}

    broken = True
    rows = rows_of_a_run()
    assert rows[learn.BASE]["error"] == "ValueError: no"
    assert len(asked) == 1  # nobody learned for nothing
    assert [rows[who]["skipped"] for who in ("plain", "trl-sft")] == ["the base model was not measured"] * 2
    broken = False
    rows = rows_of_a_run()  # once it is measured, so are they
    assert [rows[who]["kept"] for who in (learn.BASE, "plain", "trl-sft")] == [0.5] * 3
    assert [before.get("kept") for before in asked[1:]] == [None, 0.5, 0.5]


@pytest.fixture
def told() -> list[Told]:
    return [
        Told("a", (("user", "Who?"),), "Nobody.", True, False, "Maren."),
        Told("b", (("user", "Hi."), ("assistant", "Hi."), ("user", "How?")), "So", False, True),
        Told("c", (("user", "When?"),), "Never.", True, False),
    ]


def test_every_contestant_learns_from_the_same_feedback(told: list[Told], tmp_path: Path) -> None:
    lessons.keep(told, tmp_path / "lesson.json")
    assert lessons.kept(tmp_path / "lesson.json") == told
    assert [(pair.reply, pair.ended) for pair in lessons.pairs(told)] == [("Maren.", True), ("So", False)]
    orders = [[(row["completion"][0]["content"], row["label"]) for row in kto_rows(told, seed)] for seed in range(6)]
    told_rows = [("Maren.", True), ("Never.", False), ("Nobody.", False), ("So", True)]
    assert all(sorted(order) == told_rows for order in orders)
    assert len({tuple(order) for order in orders}) > 2  # KTOTrainer reads them as they come: not all bad ones first


def test_the_record_takes_a_lesson_in(told: list[Told], store: Store, tmp_path: Path) -> None:
    lessons.write_record(told, tmp_path / "feedback.jsonl")
    report = import_file(store, tmp_path / "feedback.jsonl")
    assert (report.taken, report.bad) == (3, [])
    kept = {each.conversation_id: each for each in store.feedback()}
    assert kept["a"].correction == "Maren."
    assert (kept["b"].content, kept["b"].finish, [*kept["b"].ratings.values()]) == ("So", "length", [1])
    assert [*kept["c"].ratings.values()] == [-1]


def test_conversations_of_a_file_are_seen_or_unseen_never_both(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "x"}], "completion": [{"role": "assistant", "content": "y"}]}
    rows = [{**row, "conversation_id": f"c{n // 2}", "label": n % 10 > 1} for n in range(200)]
    (tmp_path / "some.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    seen, unseen = lessons.split(lessons.of_file(tmp_path / "some.jsonl"), seed=1)
    assert (len(seen), len(unseen)) == (120, 80)
    assert not {each.conversation_id for each in seen} & {each.conversation_id for each in unseen}
    assert [sum(not each.up for each in part) for part in (seen, unseen)] == [24, 16]


def test_only_the_reply_carries_loss_for_a_plain_learner(scorer: Scorer) -> None:
    rows = [
        encode(scorer.tokenizer, pair)
        for pair in (Pair((("user", "hi"),), "yes", True), Pair((("user", "hello"),), "no", False))
    ]
    learned = [[token for token in row["labels"] if token != -100] for row in rows]
    assert scorer.tokenizer.decode(learned[0]) == "yes<|end|>"
    assert scorer.tokenizer.decode(learned[1]) == "no"
    batch = pad(rows, 0)
    assert batch["attention_mask"].sum(1).tolist() == [len(row["input_ids"]) for row in rows]
    assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()


def test_a_run_that_was_broken_off_is_taken_up_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    rows = Rows(file, 1)
    rows.add({"who": "rapport", "seed": 1, "right": 0.5})
    rows.add({"who": "plain", "seed": 1, "error": "Failed: it fell over"})
    again = Rows(file, 1)
    assert again.find({"who": "rapport", "seed": 1}) == {
        "who": "rapport",
        "seed": 1,
        "right": 0.5,
        "device": rows.device,
    }
    assert again.find({"who": "plain", "seed": 1}) is None


def test_a_row_of_another_device_is_kept_but_not_taken_for_one_of_this(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "rows.json"
    old = {"who": "rapport", "seed": 1, "minutes": 9.0}  # as files had them that knew no device
    file.write_text(json.dumps({"rows": [old]}))
    monkeypatch.setattr("bench.machine.name", lambda _: "A fast GPU")
    gpu = Rows(file, 1)
    assert gpu.find({"who": "rapport", "seed": 1}) is None
    quick = gpu.add({"who": "rapport", "seed": 1, "minutes": 0.5})
    assert (gpu.find({"who": "rapport"}), gpu.here) == (quick, [quick])
    monkeypatch.setattr("bench.machine.name", lambda _: "cpu")
    cpu = Rows(file, 1)
    assert (cpu.find({"who": "rapport"}), cpu.here, cpu.all) == (old, [old], [old, quick])


def test_the_table_of_training_speed_is_of_figures_alone(monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", ""))  # which the import changes
    from bench import train

    figures = dict.fromkeys(("tokens_per_s", "peak_bytes", "train_nll", "unseen_nll", "process_s"), 2.0)
    rows = [{"who": who, "repeat": n, **figures, "device": "cpu"} for who in ("rapport", "trl-sft") for n in (1, 2)]
    assert "rapport is 1.00 x trl-sft" in train.table(rows)


def test_a_process_is_watched_to_its_end() -> None:
    code = "import time, sys; block = bytearray(300 * 2**20); time.sleep(0.5); print('done'); sys.exit(3)"
    ended = watched([sys.executable, "-c", code], os.environ, ROOT)
    assert (ended.code, ended.last_line) == (3, "done")
    assert 300 * 2**20 < ended.peak < 600 * 2**20
    assert ended.seconds > 0.5
