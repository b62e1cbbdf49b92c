"""What the learning benchmarks are made of: facts that luck does not find, rules, a scorer that counts right."""

from pathlib import Path

import pytest
import torch

from bench.companies import company
from bench.general_answers import GENERAL
from bench.scorer import Said, Scorer, auc, best_cut, telling
from finetune.general import ANCHORS, UNSEEN


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
    assert not {prompt for prompt, _ in GENERAL} & {*ANCHORS, *UNSEEN}


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
    cut = best_cut([1.0, 1.2, 3.0], [2.0, 2.5])
    assert 1.2 < cut < 2.0
    found = telling([1.0, 1.2, 3.0, 2.0, 2.5], [True, True, True, False, False], ["a", "a", "b", "c", "d"], cut)
    assert (found.good, found.bad) == (3, 2)
    assert found.auc == pytest.approx(4 / 6)
    assert found.accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert found.auc_low <= found.auc <= found.auc_high
    sure = telling([1.0] * 30 + [2.0] * 30, [True] * 30 + [False] * 30, [str(i) for i in range(60)], 1.5)
    assert (sure.auc_low, sure.auc_high, sure.accuracy) == (1.0, 1.0, 1.0)
