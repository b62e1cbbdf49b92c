import random
import threading
import weakref
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from chatui.engine.local import LocalEngine
from chatui.engine.protocol import EngineBusy, EngineError, Sampling
from tests.chatui.engine.models import GREEDY, HELLO, engine_of, loaded_from, text_of, written
from tests.chatui.scripted import wait_for
from tests.tiny import make_tiny


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory):
    """Three versions that write different texts."""
    folder = tmp_path_factory.mktemp("versions")
    return {n: make_tiny(folder / str(n), seed=n) for n in range(3)}


@pytest.fixture
def engine(models: dict[int, Path]) -> LocalEngine:
    made = engine_of(models, dice=random.Random(0))
    made.serve({0: 1.0})
    made.folder = models[0]
    yield made
    made.close()


def test_before_anything_serves_it_says_so() -> None:
    with pytest.raises(EngineError, match="loading"):
        LocalEngine(lambda n, onto=None: None).begin(HELLO, GREEDY)


def test_greedy_writes_what_the_library_writes(engine: LocalEngine, models: dict[int, Path]) -> None:
    loaded = loaded_from(models[0])
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


def test_beside_a_run_it_computes_with_the_other_half_of_the_threads(models: dict[int, Path]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    try:
        engine = engine_of(models)
        used = []
        for beside in (True, True, False):
            engine.share_cores(beside)
            used.append(engine._loop.call(torch.get_num_threads))
        engine.close()
    finally:
        torch.set_num_threads(before)
    assert used == [3, 3, 5]


def test_a_version_that_cannot_load_leaves_what_served(models: dict[int, Path]) -> None:
    def load(number: int, onto=None):
        if number == 1:
            raise OSError("the file is gone")
        return loaded_from(models[number])

    engine = LocalEngine(load)
    engine.serve({0: 1.0})
    with pytest.raises(EngineError, match="Version 1 cannot serve: the file is gone"):
        engine.serve({1: 1.0})
    assert engine.state().versions == (0,)
    assert engine.begin(HELLO, GREEDY).version == 0


@pytest.mark.parametrize("form", ["bfloat16", "int8"])
def test_of_a_version_whose_weights_were_packed_nothing_else_stays_in_memory(
    form: str, models: dict[int, Path]
) -> None:
    loads = []

    def load(number: int, onto=None):
        loaded = loaded_from(models[number])
        loads.extend(weakref.ref(held) for held in (loaded, loaded.model))
        return loaded

    engine = LocalEngine(load, form=form)
    engine.serve({0: 1.0})
    engine.serve({0: 0.5, 1: 0.5})
    assert engine._served[0].lane.network.form == form
    assert [held() for held in loads] == [None] * 4
    assert written(engine, stay_with=0)
    engine.close()


def test_a_version_of_broken_weights_leaves_what_served(engine: LocalEngine, models: dict[int, Path]) -> None:
    def load(number: int, onto=None):
        loaded = loaded_from(models[number])
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


def test_a_reply_that_joins_is_written_beside_the_others(engine: LocalEngine) -> None:
    alone = [written(engine, [("user", "the quick brown fox " * n)]) for n in (1, 5, 9)]
    generations = [engine.begin([("user", "the quick brown fox " * n)], GREEDY) for n in (1, 5, 9)]
    first = iter(generations[0])
    begun = next(first)
    others = [text_of(generation) for generation in generations[1:]]
    assert [[begun, *first][-1], *others] == alone


def test_the_line_has_an_end_and_everyone_in_it_knows_their_place(models: dict[int, Path]) -> None:
    engine = engine_of(models, max_streams=1, max_waiting=2)
    engine.serve({0: 1.0})
    hot = Sampling(temperature=1.5, max_new_tokens=120, seed=3)
    running = engine.begin(HELLO, hot)
    steps = iter(running)
    next(steps)
    waiting = [engine.begin(HELLO, GREEDY) for _ in range(2)]
    with pytest.raises(EngineBusy, match="3 replies are being written or waiting already; try again in a moment"):
        engine.begin(HELLO, GREEDY)
    texts: list[str] = []
    threads = [threading.Thread(target=lambda g=g: texts.append(text_of(g))) for g in waiting]
    for thread in threads:
        thread.start()
    wait_for(lambda: sorted(g.waiting for g in waiting) == [1, 2])
    running.cancel()
    for thread in threads:
        thread.join(30)
    assert len(texts) == 2
    assert [g.waiting for g in waiting] == [0, 0]
    assert running.waiting == 0
    waiting.clear()
    assert written(engine)


def test_who_looks_on_no_longer_frees_the_place(models: dict[int, Path]) -> None:
    engine = engine_of(models, max_streams=1)
    engine.serve({0: 1.0})
    left = iter(engine.begin(HELLO, Sampling(temperature=1.5, max_new_tokens=120, seed=3)))
    next(left)
    left.close()
    assert written(engine)


def test_a_reply_that_is_over_holds_no_place(models: dict[int, Path]) -> None:
    engine = engine_of(models, max_streams=1, max_waiting=0)
    engine.serve({0: 1.0})
    held = []
    for _ in range(3):
        held.append(engine.begin(HELLO, GREEDY))
        text_of(held[-1])
    never_written = engine.begin(HELLO, GREEDY)
    with pytest.raises(EngineBusy):
        engine.begin(HELLO, GREEDY)
    del never_written
    assert written(engine)


def test_a_reply_ends_before_a_stop_string_and_shows_none_of_it(engine: LocalEngine) -> None:
    whole = written(engine)
    stop = whole[5:9]
    generation = engine.begin(HELLO, replace(GREEDY, stop=(stop,)))
    texts = list(generation)
    assert texts[-1] == whole[: whole.index(stop)]
    assert generation.finish == "end"
    assert all(texts[-1].startswith(text) for text in texts)


BAD = [
    ("temperature", float("nan")),
    ("temperature", -1.0),
    ("temperature", float("inf")),
    ("temperature", "hot"),
    ("top_p", 0.0),
    ("top_p", 1.5),
    ("top_k", -1),
    ("top_k", 2.5),
    ("repetition_penalty", 0.0),
    ("repetition_penalty", float("inf")),
    ("max_new_tokens", 0),
    ("seed", "lucky"),
    ("stop", ("",)),
    ("stop", ("x",) * 1000),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_setting_that_cannot_be_meant_is_one_sentence(engine: LocalEngine, name: str, value: object) -> None:
    with pytest.raises(EngineError, match=f"{name.split('_')[0]}.*cannot be used; give") as told:
        engine.begin(HELLO, replace(GREEDY, **{name: value}))
    assert str(told.value).count(". ") == 0


@pytest.mark.parametrize(
    "extreme",
    [
        Sampling(temperature=1e-30, max_new_tokens=8),
        Sampling(temperature=10, top_p=1e-9, top_k=0, max_new_tokens=8),
        Sampling(temperature=1, top_k=10**9, max_new_tokens=8),
        Sampling(temperature=1, repetition_penalty=10, seed=-(2**70), max_new_tokens=8),
        Sampling(temperature=0, max_new_tokens=10**12),
    ],
)
def test_what_is_extreme_but_can_be_meant_is_done(engine: LocalEngine, extreme: Sampling) -> None:
    generation = engine.begin(HELLO, extreme)
    assert text_of(generation)
    assert generation.finish in ("end", "length")


def test_one_reply_of_broken_numbers_ends_alone(engine: LocalEngine) -> None:
    """A neighbour's numbers that are not finite must reach nobody, not even who sits in its seat next."""
    alone = [written(engine, [("user", f"the fox {n}")]) for n in range(3)]
    network = engine._served[0].lane.network
    whole, poisoned = network.logits, engine.begin([("user", "poison")], Sampling(0.0, max_new_tokens=50))

    def logits(ids, pieces, at):
        rows = engine._served[0].lane.rows
        if poisoned._row in rows and len(poisoned._row.ids) > poisoned._row.prompt + 2:
            pieces[0].slab.kv[:, rows.index(poisoned._row)] = float("nan")
        return whole(ids, pieces, at)

    network.logits = logits
    others = [engine.begin([("user", f"the fox {n}")], GREEDY) for n in range(3)]
    texts: list[str] = [""] * 3
    threads = [threading.Thread(target=lambda n=n: texts.__setitem__(n, text_of(others[n]))) for n in range(3)]
    with pytest.raises(EngineError, match="no usable probabilities"):
        steps = iter(poisoned)
        next(steps)
        for thread in threads:
            thread.start()
        list(steps)
    for thread in threads:
        thread.join(30)
    assert texts == alone
    assert written(engine, [("user", "the fox 0")]) == alone[0]


def test_a_step_that_fails_ends_only_its_cause(engine: LocalEngine) -> None:
    network = engine._served[0].lane.network
    whole, alone = network.logits, written(engine)
    cause = engine.begin([("user", "a cause of trouble")], GREEDY)

    def logits(ids, pieces, at):
        if any(row is cause._row for row in engine._served[0].lane.rows) and (ids.shape[0] > 1 or at[0] > 20):
            raise RuntimeError("the kernel choked")
        return whole(ids, pieces, at)

    network.logits = logits
    texts: list[str] = []
    other = threading.Thread(target=lambda: texts.append(written(engine)))
    other.start()
    with pytest.raises(EngineError, match="The reply failed .the kernel choked.; try again"):
        text_of(cause)
    other.join(30)
    assert texts == [alone]


def test_health_is_a_token_of_every_version(engine: LocalEngine) -> None:
    engine.serve({0: 0.5, 1: 0.5})
    assert engine.check() > 0
    with torch.no_grad():
        engine._served[1].lane.network.head.weight.fill_(float("nan"))
    with pytest.raises(EngineError, match="no usable probabilities"):
        engine.check()


def test_what_was_read_is_not_read_again_by_the_next_turn(engine: LocalEngine) -> None:
    network = engine._served[0].lane.network
    read, whole = [], network.logits
    turns = [("user", "the quick brown fox " * 8)]
    reply = written(engine, turns, replace(GREEDY, max_new_tokens=4))
    turns += [("assistant", reply), ("user", "and then")]

    def logits(ids, pieces, at):
        read.append(ids.shape[1])
        return whole(ids, pieces, at)

    network.logits = logits
    generation = engine.begin(turns, GREEDY)
    text = text_of(generation)
    assert max(read) < 0.4 * generation.prompt_tokens
    fresh = engine_of({0: engine.folder})
    fresh.serve({0: 1.0})
    assert text == written(fresh, turns)


def test_another_version_never_goes_on_from_what_one_has_read(engine: LocalEngine, models: dict[int, Path]) -> None:
    turns = [("user", "the quick brown fox " * 8)]
    written(engine, turns)
    engine.serve({1: 1.0})
    fresh = engine_of(models)
    fresh.serve({1: 1.0})
    assert written(engine, turns) == written(fresh, turns)


def test_memory_is_bounded_and_what_is_only_kept_goes_first(models: dict[int, Path]) -> None:
    engine = engine_of(models)
    engine.serve({0: 1.0})
    lane = engine._served[0].lane
    engine._loop.memory = 3 * lane.network.shape.bytes_per_token * 256 * 8  # three slabs
    for n in range(60):
        written(engine, [("user", f"{n} " + "the quick brown fox " * 8)], replace(GREEDY, max_new_tokens=2))
        assert lane.bytes <= engine._loop.memory
    engine._loop.memory = 1000
    engine._loop.call(lambda: all(iter(lane.spare, False)))
    with pytest.raises(EngineError, match="no memory left for this reply"):
        written(engine)


def test_closing_ends_every_reply(engine: LocalEngine) -> None:
    steps = iter(generation := engine.begin(HELLO, Sampling(temperature=1.5, max_new_tokens=120, seed=3)))
    next(steps)
    engine.close()
    list(steps)
    assert generation.finish == "stopped"
    with pytest.raises(EngineError, match="closed"):
        engine.begin(HELLO, GREEDY)
