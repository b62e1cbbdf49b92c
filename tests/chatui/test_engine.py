import random
import threading
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from chatui.engine.local import LocalEngine
from chatui.engine.protocol import EngineError, Sampling
from finetune.model import load_base
from tests.tiny import make_tiny

GREEDY = Sampling(temperature=0, max_new_tokens=24)
HELLO = [("user", "hello world")]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory):
    """Three versions that write different texts."""
    folder = tmp_path_factory.mktemp("versions")
    return {n: make_tiny(folder / str(n), seed=n) for n in range(3)}


@pytest.fixture
def engine(models: dict[int, Path]) -> LocalEngine:
    made = engine_of(models, dice=random.Random(0))
    made.serve({0: 1.0})
    yield made
    made.close()


def engine_of(models: dict[int, Path], **settings) -> LocalEngine:
    """An engine that serves tiny models as they are, to the bit."""
    return LocalEngine(lambda n, onto=None: loaded_from(models, n), form="float32", **settings)


def loaded_from(models: dict[int, Path], number: int):
    return load_base(models[number], torch.float32, torch.device("cpu"))


def written(engine: LocalEngine, messages=HELLO, sampling: Sampling = GREEDY, stay_with: int | None = None) -> str:
    generation = engine.begin(messages, sampling, stay_with)
    return ["", *generation][-1]


def test_before_anything_serves_it_says_so() -> None:
    with pytest.raises(EngineError, match="loading"):
        LocalEngine(lambda n, onto=None: None).begin(HELLO, GREEDY)


def test_greedy_writes_what_the_library_writes(engine: LocalEngine, models: dict[int, Path]) -> None:
    loaded = load_base(models[0], torch.float32, torch.device("cpu"))
    ids = torch.tensor([loaded.template.prompt(HELLO)])
    with torch.inference_mode():
        out = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
    # The engine does not show half a character at the end.
    assert written(engine) == loaded.template.decode(out[0, ids.shape[1] :]).rstrip("\ufffd")


def test_text_only_ever_grows_and_figures_add_up(engine: LocalEngine) -> None:
    generation = engine.begin(HELLO, GREEDY)
    texts = list(generation)
    assert all(after.startswith(before) for before, after in pairwise(texts))
    assert generation.finish in ("end", "length")
    assert generation.completion_tokens <= 24
    assert generation.prompt_tokens > 3


def test_the_same_seed_writes_the_same_whatever_else_is_written(engine: LocalEngine) -> None:
    seeded = Sampling(temperature=1.5, top_p=1.0, top_k=0, max_new_tokens=24, seed=7)
    alone = written(engine, sampling=seeded)
    others = [threading.Thread(target=written, args=(engine, HELLO, Sampling(1.5))) for _ in range(3)]
    for other in others:
        other.start()
    beside = written(engine, sampling=seeded)
    for other in others:
        other.join()
    assert alone == beside
    assert written(engine, sampling=Sampling(1.5, 1.0, 0, max_new_tokens=24, seed=8)) != alone


def test_cancelling_ends_a_reply_and_keeps_its_text(engine: LocalEngine) -> None:
    generation = engine.begin(HELLO, Sampling(temperature=1.5, max_new_tokens=100, seed=1))
    texts = []
    for text in generation:
        texts.append(text)
        if len(texts) == 3:
            generation.cancel()
    assert len(texts) <= 4
    assert generation.finish == "stopped"


def test_cancelled_before_it_began_says_nothing(engine: LocalEngine) -> None:
    generation = engine.begin(HELLO, GREEDY)
    generation.cancel()
    assert (list(generation), generation.finish) == ([], "stopped")


def test_a_reply_ends_in_the_version_it_began_in(engine: LocalEngine, models: dict[int, Path]) -> None:
    generation = engine.begin(HELLO, GREEDY)
    steps = iter(generation)
    first = next(steps)
    engine.serve({1: 1.0})
    rest = list(steps)
    alone = engine_of(models)
    alone.serve({0: 1.0})
    assert generation.version == 0
    assert [first, *rest][-1] == written(alone)
    assert engine.begin(HELLO, GREEDY).version == 1


def test_a_conversation_stays_with_its_version_while_that_serves(engine: LocalEngine) -> None:
    engine.serve({1: 0.5, 2: 0.5})
    assert {engine.begin(HELLO, GREEDY, stay_with=2).version for _ in range(20)} == {2}
    assert engine.begin(HELLO, GREEDY, stay_with=0).version in (1, 2)
    assert {engine.begin(HELLO, GREEDY).version for _ in range(40)} == {1, 2}


def test_a_version_that_cannot_load_leaves_what_served(models: dict[int, Path]) -> None:
    def load(number: int, onto=None):
        if number == 1:
            raise OSError("the file is gone")
        return load_base(models[number], torch.float32, torch.device("cpu"))

    engine = LocalEngine(load)
    engine.serve({0: 1.0})
    with pytest.raises(EngineError, match="Version 1 cannot serve: the file is gone"):
        engine.serve({1: 1.0})
    assert engine.state().versions == (0,)
    assert engine.begin(HELLO, GREEDY).version == 0


def test_a_version_of_broken_weights_leaves_what_served(engine: LocalEngine, models: dict[int, Path]) -> None:
    def load(number: int, onto=None):
        loaded = load_base(models[number], torch.float32, torch.device("cpu"))
        with torch.no_grad():
            loaded.model.model.embed_tokens.weight.fill_(float("nan"))
        return loaded

    engine._load = load
    with pytest.raises(EngineError, match="Version 2 cannot serve"):
        engine.serve({2: 1.0})
    assert engine.state().versions == (0,)


def test_a_long_conversation_loses_its_oldest_messages_but_not_the_system_one(engine: LocalEngine) -> None:
    turns = [("system", "be kind")]
    for n in range(30):
        turns += [("user", f"question {n} about the fox"), ("assistant", "the quick brown fox")]
    generation = engine.begin([*turns, ("user", "and now?")], Sampling(temperature=0, max_new_tokens=16))
    assert generation.kept[0] == 0
    assert generation.kept[-1] == 61
    assert 2 < len(generation.kept) < 62
    assert turns[generation.kept[1]][0] == "user"
    assert generation.kept[1:] == list(range(generation.kept[1], 62))


def test_a_message_that_is_too_long_alone_is_one_sentence(engine: LocalEngine) -> None:
    with pytest.raises(EngineError, match="the model reads at most"):
        engine.begin([("user", "word " * 500)], GREEDY)


def test_what_the_template_refuses_is_one_sentence(engine: LocalEngine) -> None:
    with pytest.raises(EngineError, match="cannot begin with a reply"):
        engine.begin([("assistant", "hi"), ("user", "hello")], GREEDY)


def test_more_streams_than_places_all_end(models: dict[int, Path]) -> None:
    engine = engine_of(models, max_streams=2)
    engine.serve({0: 1.0})
    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append(written(engine))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(texts) == 8
    assert len(set(texts)) == 1
