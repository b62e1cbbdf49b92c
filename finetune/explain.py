"""What a run would learn from the record as it is now: which rule took what, and which tokens carry loss."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from feedback.errors import BadInput
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.base import check_base, ensure_base
from finetune.dataset import Built, build
from finetune.model import ChatTemplate, load_template
from finetune.pairs import RULES, TAKES, TrainingPair
from finetune.settings import PairSettings
from finetune.uses import USES, Reading, readings, uses, why_not


def template_of(data: DataSettings) -> ChatTemplate:
    """Load the chat template of a data dir's base model, without its weights. Raises BaseModelError, LoadError.

    A model in a folder is read where it lies, even before the data dir is made; another one is fetched first.
    """
    check_base(data)
    asked = Path(data.base_model)
    if not data.base_dir.exists() and data.base_model and asked.is_dir():
        return load_template(asked)
    ensure_base(data)
    return load_template(data.base_dir)


def look(store: Store, data: DataSettings, template: ChatTemplate, settings: PairSettings) -> Built:
    """Build the dataset that a run would build now, and write nothing."""
    return build(store, data, template, settings, writes=False)


def explained(built: Built, negative: str) -> dict[str, Any]:
    """Return the table of rules with their counts, the splits in pairs and conversations, uses, and weights by kind.

    What is made of bad replies is up to the training setting `negative`.
    """
    sides = vars(built.sides).items()
    used = Counter(dict.fromkeys(USES, 0))
    for part in uses(built.sides, negative):
        used[part.use] += len(part.pairs)
    return {
        "rules": [
            {"rule": rule, "does": "takes" if rule in TAKES else "rejects", "count": built.counts[rule], "what": what}
            for rule, what in RULES.items()
        ],
        "splits": {
            side: {
                "good": sum(p.good for p in part),
                "bad": sum(not p.good for p in part),
                "conversations": len({p.conversation_id for p in part}),
            }
            for side, part in sides
        },
        "uses": dict(used),
        "weights": {kind: of for kind in TAKES if (of := _weights([p for _, part in sides for p in part], kind))},
    }


def explanation(told: dict[str, Any]) -> Iterator[str]:
    """Write what `explained` returns, as lines to read."""
    for does in ("takes", "rejects"):
        yield f"{does.capitalize()}:"
        for rule in told["rules"]:
            if rule["does"] == does:
                yield f"{rule['count']:>8,}  {rule['rule']:19}  {rule['what']}"
    yield "Splits:"
    for side, of in told["splits"].items():
        told_of = f"{of['good']:,} good, {of['bad']:,} bad; {of['conversations']:,} conversations"
        yield f"{of['good'] + of['bad']:>8,}  {side:19}  {told_of}"
    yield "Uses:"
    for use, count in told["uses"].items():
        yield f"{count:>8,}  {use:19}  {USES[use]}"
    yield "Weights:"
    for kind, of in told["weights"].items():
        yield f"{of['pairs']:>8,}  {kind:19}  {of['mean']:.3f} on average, {of['least']:.3f} to {of['most']:.3f}"


def token_rows(
    store: Store, built: Built, template: ChatTemplate, message_id: str, negative: str
) -> list[dict[str, Any]]:
    """Return the token rows that a reply is read in, and what is made of each, with `why` where nothing is.

    Each token comes with its text, the weight of its own loss (0: none), and whether it is said in a reply of the row.
    Raises NotFound, and BadInput with the rule that rejected the reply.
    """
    found = [_row(one, template, negative) for one in readings(built.sides, negative, template, message_id)]
    if not found:
        store.message(message_id)
        why = "; ".join(f"{rule}: {RULES[rule]}" for reply, rule in built.rejected if reply == message_id)
        raise BadInput(f"Reply {message_id!r} is not learned from ({why or 'nobody said anything of it'}).")
    return found


def token_lines(found: list[dict[str, Any]]) -> Iterator[str]:
    """Write what `token_rows` returns, a line a token."""
    for row in found:
        told = ", ".join(f"{r['message_id']} ({r['kind']}, weight {r['weight']:g})" for r in row["replies"])
        yield f"{row['split']}: {told}: " + (f"not used: {row['why']}" if row["why"] else USES[row["use"]])
        shared = "whole" if row["use"] == "contrasted" else "."
        for place, token in enumerate(row["tokens"]):
            loss = f"{token['weight']:+.3f}" if token["weight"] else shared if token["said"] else ""
            yield f"{place:>6}  {token['id']:>7}  {loss:>7}  {token['text']!r}"


def _row(one: Reading, template: ChatTemplate, negative: str) -> dict[str, Any]:
    return {
        "split": one.side,
        "use": one.use,
        "why": why_not(one.pairs[0], one.side, negative) if one.use == "not_used" else "",
        "replies": [_reply(pair) for pair in one.pairs],
        "tokens": [
            {"id": token, "text": template.tokenizer.decode([token]), "weight": own, "said": said}
            for token, own, said in zip(one.ids, one.own, one.said, strict=True)
        ],
    }


def _reply(pair: TrainingPair) -> dict[str, Any]:
    return {"message_id": pair.message_id, "kind": pair.kind, "weight": pair.weight if pair.good else -pair.weight}


def _weights(pairs: list[TrainingPair], kind: str) -> dict[str, float]:
    of = [p.weight for p in pairs if p.kind == kind]
    return {"pairs": len(of), "mean": sum(of) / len(of), "least": min(of), "most": max(of)} if of else {}
