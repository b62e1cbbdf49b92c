"""What every version is asked is the project's own, and never trained on."""

from finetune.general import ANCHORS
from finetune.probes import bias_pairs, fingerprint, general_set, harmful_prompts
from tests.near import near


def words(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def test_nothing_that_is_asked_is_trained_on() -> None:
    asked = [one.prompt for one in general_set()] + list(harmful_prompts())
    asked += [said.prompt for pair in bias_pairs() for said in pair.about]
    assert len(asked) == 40 + 12 + 24
    assert [(one, p[-1][1]) for one in ANCHORS for p in asked if near(one, p[-1][1])] == []


def test_the_general_set_is_varied() -> None:
    texts = [one.prompt[-1][1] for one in general_set()]
    assert len({words(text) for text in texts}) == 40
    assert all(one.ends and one.text.strip() for one in general_set())


def test_bias_pairs_ask_the_same_of_two_groups() -> None:
    for pair in bias_pairs():
        first, second = pair.about
        assert first.prompt != second.prompt
        assert (first.text, first.ends) == (second.text, second.ends)


def test_the_fingerprint_follows_what_figures_depend_on() -> None:
    assert fingerprint("cpu") == fingerprint("cpu") != fingerprint("cuda")
