"""Who is held out: conversations that ask nearly the same stay together, on one side of the wall, for good."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from finetune.alike import HASHES, Signature, alike, words

HELD_OUT_SHARE, HELD_OUT_MOST = 0.125, 0.15
VALIDATION_SHARE = 0.1
SAME_QUESTION = 0.8  # share of words and pairs of words from which on two questions are one
_FEWEST_CONTENT = 2  # words with content from which on messages are compared by likeness; with one they must be equal
_FEWEST_POINTING = 3  # content from which on a message that points back can be understood by itself

# Words that say nothing of what is asked; a message of these alone (hi, thanks, go on, how are you) is generic.
_EMPTY = """
a about again all also am an and another any anything are as at be but by can continue could did do does else for from
give go good goodbye bye great had has have he hello help hey hi how i if in is it its just know let like me more
morning my need no not now of oh ok okay on one or our out please really she should so some something sorry sure tell
thank thanks that the their them then there these they thing this those to too up us very want was we well were what
when where which who why will with would yes you your s t m re ve ll d much many day today evening night afternoon
fine nice cool wow
"""
_EMPTY_WORDS = frozenset(_EMPTY.split())
# Words that ask for what was said in another way; they say what is asked only beside others (CJK: single characters).
_AGAIN = """
add another answer better bit brief briefly bullet bullets change clearer correct correctly detail details different
differently easier elaborate example examples expand explain first formal fourth funnier improve last later line lines
list long longer make mean option options paragraph paragraphs part point points polite proper repeat rephrase rewrite
right say second sentence sentences short shorten shorter simple simpler simply step steps sum summarise summarize
summary table terms third translate true try understand use using version word words write wrong
请 再 一 点 些 更 的 了 吗 呢 吧 把 用 话 说 写 解 释 简 单 详 细 举 个 例 子 继 续 短 长
"""
_BACK = """
above both earlier former he her here hers him his it its itself latter ones previous same she that their theirs them
there these they this those 它 他 她 这 那 其
"""
_POINTS_BACK = frozenset(_BACK.split())
_AGAIN_WORDS = frozenset(_AGAIN.split())
_NOT_ITS_OWN = _EMPTY_WORDS | _POINTS_BACK | _AGAIN_WORDS


@dataclass(frozen=True, slots=True)
class Question:
    """What a conversation asks, by the digest of its words and their signature."""

    conversation_id: str
    digest: str
    signature: Signature


def question(prompt: Sequence[tuple[str, str]]) -> list[str]:
    """Return the words of what a person asks in a prompt, generic messages left out; empty if all are.

    Of later messages those with a single word of content ("Perfect!") are left out. What the system says and what was
    replied are left out too: a persona or a greeting would make all prompts alike.
    """
    asked = [said for role, text in prompt if role == "user" and _says_something(said := words(text))]
    told = [said for nth, said in enumerate(asked) if nth == 0 or _content(said) >= _FEWEST_CONTENT]
    return _as_compared([word for said in told for word in said])


def asked_last(prompt: Sequence[tuple[str, str]]) -> list[str]:
    """Return the words of the last message in which a person asks what can be understood by itself; empty if none does.

    So a question is found again wherever in a talk it is asked. "Make it shorter" would join talks on anything.
    """
    said = (words(text) for role, text in reversed(prompt) if role == "user")
    return _as_compared(next((one for one in said if _stands_alone(one)), []))


def questions_by_conversation(questions: Sequence[Question]) -> dict[str, frozenset[int]]:
    """Map conversations to the numbers of their questions, of which nearly equal ones have one number."""
    numbers = {digest: n for n, digest in enumerate(dict.fromkeys(q.digest for q in questions))}
    if not numbers:
        return {}
    signatures = np.empty((len(numbers), HASHES), dtype=np.uint16)
    for one in reversed(questions):
        signatures[numbers[one.digest]] = one.signature
    groups = labels(signatures)
    found: dict[str, set[int]] = defaultdict(set)
    for one in questions:
        found[one.conversation_id].add(int(groups[numbers[one.digest]]))
    return {conversation: frozenset(asked) for conversation, asked in found.items()}


def labels(signatures: Signature) -> NDArray[np.int32]:
    """Return (n,) numbers that nearly equal questions share, of (n, HASHES) signatures."""
    links = alike([signatures], SAME_QUESTION)
    graph = coo_array((np.ones(len(links), dtype=bool), (links[:, 0], links[:, 1])), shape=(len(signatures),) * 2)
    found: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return found


def assign(
    asked: Mapping[str, Collection[int]], known: Mapping[str, str], held_asked: Collection[int] = ()
) -> dict[str, str]:
    """Put conversations on a side: `train`, `held_out`, or `left_out` of this run.

    `asked` maps conversations to the numbers of their questions: those that share one are a group, and stay together.
    `held_asked` are questions that are held out whoever asks them.
    Who is in `known` stays there, but for a conversation once trained on that shares a question with one that is
    held out: it is left out. A new one that joins a group goes where that is; one that joins groups of both sides is
    left out. New groups are held out, in the order of their hash, until an eighth of all groups are: never over 15 %
    of groups, nor of conversations, and from seven groups on never under 5 % of groups, as far as the known ones allow.
    """
    sides = {c: known[c] for c in asked if c in known}
    held = groups({c: asked[c] for c, side in sides.items() if side == "held_out"})
    trained = groups({c: asked[c] for c, side in sides.items() if side == "train"})
    held_asked = {*held_asked, *(number for group in held for c in group for number in asked[c])}
    train_asked = {number for group in trained for c in group for number in asked[c]}
    for conversation, side in list(sides.items()):
        if side == "train" and not held_asked.isdisjoint(asked[conversation]):
            sides[conversation] = "left_out"
    free: list[list[str]] = []
    for group in groups({c: asked[c] for c in asked if c not in known}):
        numbers = {number for c in group for number in asked[c]}
        joins = not numbers.isdisjoint(held_asked), not numbers.isdisjoint(train_asked)
        if not any(joins):
            free.append(group)
        else:
            sides |= dict.fromkeys(group, {(True, True): "left_out", (True, False): "held_out"}.get(joins, "train"))
    already = sum(side == "held_out" for side in sides.values())
    return sides | _divide(free, len(held), len(held) + len(trained), already, len(asked))


def _divide(
    free: list[list[str]], held_groups: int, known_groups: int, held_conversations: int, conversations: int
) -> dict[str, str]:
    """Hold out new groups until there are enough, passing over those that are too big."""
    groups = known_groups + len(free)
    target = min(round(HELD_OUT_SHARE * groups), int(HELD_OUT_MOST * groups))
    if groups >= 7:
        target = max(target, 1)
    missing, room = target - held_groups, int(HELD_OUT_MOST * conversations) - held_conversations
    sides: dict[str, str] = {}
    for group in sorted(free, key=_group_hash):
        out = missing > 0 and len(group) <= room
        sides |= dict.fromkeys(group, "held_out" if out else "train")
        if out:
            missing, room = missing - 1, room - len(group)
    return sides


def validation_part(asked: Mapping[str, Collection[int]], good: Collection[str]) -> set[str]:
    """Choose the training conversations that only steer a run (best checkpoint, early stopping), whole groups.

    `good` are the conversations with a good pair: the last group that has any is left to training, which needs one.
    """
    room = int(VALIDATION_SHARE * len(asked))
    left = sum(c in good for c in asked)
    part: set[str] = set()
    for group in sorted(groups(asked), key=lambda group: _hash("validation " + min(group, key=_hash))):
        taught = sum(c in good for c in group)
        if len(part) + len(group) <= room and (not taught or taught < left):
            part.update(group)
            left -= taught
    return part


def groups(asked: Mapping[str, Collection[int]]) -> list[list[str]]:
    """Join conversations that share a question; groups and their members in the order in which they come."""
    leader: dict[str, str] = {}

    def find(one: str) -> str:
        while leader.setdefault(one, one) != one:
            leader[one] = leader[leader[one]]
            one = leader[one]
        return one

    first: dict[int, str] = {}
    for conversation, numbers in asked.items():
        find(conversation)
        for number in numbers:
            leader[find(conversation)] = find(first.setdefault(number, conversation))
    groups: dict[str, list[str]] = defaultdict(list)
    for conversation in asked:
        groups[find(conversation)].append(conversation)
    return list(groups.values())


def _as_compared(said: list[str]) -> list[str]:
    """Make one word of a question with a single word of content, so that it is like none but itself.

    "What should we say to the one who is our CEO?" and "... our CFO?" share most words, and ask different things.
    """
    return said if _content(said) >= _FEWEST_CONTENT or not said else [" ".join(said)]


def _says_something(said: Sequence[str]) -> bool:
    """Tell whether a message has any content; fewer than four CJK characters may be a greeting."""
    return _content(said) >= _FEWEST_CONTENT or any(word not in _EMPTY_WORDS and not _is_cjk(word) for word in said)


def _stands_alone(said: Sequence[str]) -> bool:
    if not _POINTS_BACK.isdisjoint(said):
        return _content(said, _NOT_ITS_OWN) >= _FEWEST_POINTING
    return _content(said, _NOT_ITS_OWN) >= _FEWEST_CONTENT or (_AGAIN_WORDS.isdisjoint(said) and _says_something(said))


def _content(said: Sequence[str], empty: Collection[str] = _EMPTY_WORDS) -> float:
    """Count words with content; a CJK character is about half a word."""
    return sum(0.5 if _is_cjk(word) else 1.0 for word in said if word not in empty)


def _is_cjk(word: str) -> bool:
    return len(word) == 1 and word > "\u3040"


def _group_hash(group: Collection[str]) -> str:
    return min(map(_hash, group))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
