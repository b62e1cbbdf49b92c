"""The commands on versions and what serves: promote, rollback, pin, unpin, trial, history, card, compare."""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from feedback.errors import BadInput
from feedback.existing import existing
from feedback.personas import checked_sampling
from feedback.records import TrialLine
from feedback.schema import now
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.settings import TrialSettings


def _say(args: argparse.Namespace, value: Any, lines: Iterable[str]) -> int:
    for line in [json.dumps(value, ensure_ascii=False, default=str)] if args.json else lines:
        print(line)
    return 0


def _serving(store: Store) -> dict[str, Any]:
    serves = store.serving()
    return {"serving": serves.shares if serves else {}}


def _promote(data: DataSettings, args: argparse.Namespace) -> int:
    store = existing(data)
    version = store.version(args.version)
    store.promote(args.version, reason="Promoted by hand.")
    said = f" The gate said: {version.reason}" if version.reason else ""
    return _say(args, _serving(store), [f"Version {args.version} serves from now on.{said}"])


def _rollback(data: DataSettings, args: argparse.Namespace) -> int:
    store = existing(data)
    shares = store.rollback().shares
    return _say(args, _serving(store), [f"Version {', '.join(map(str, shares))} serves again."])


def _pin(data: DataSettings, args: argparse.Namespace) -> int:
    store, pinned = existing(data), args.command == "pin"
    store.pin(args.version, pinned)
    said = "is kept whatever the rule for old versions says" if pinned else "is pinned no longer"
    return _say(args, {"version": args.version, "pinned": pinned}, [f"Version {args.version} {said}."])


def _history(data: DataSettings, args: argparse.Namespace) -> int:
    lines = existing(data, reads=True).promotions()

    def shown() -> Iterable[str]:
        if not lines:
            yield "Nothing serves yet; the first start of the app, or the first run, begins with the base model."
        for line in lines:
            shares = ", ".join(f"{number}: {share:.0%}" for number, share in line.shares.items())
            at = line.created_at.astimezone()
            yield f"{line.id:>4}  {at:%Y-%m-%d %H:%M}  {shares:20} {line.person:10} {line.reason}"

    return _say(args, [vars(line) for line in lines], shown())


def _card(data: DataSettings, args: argparse.Namespace) -> int:
    from finetune.card import card, lines_of

    told = card(existing(data, reads=True), data, args.version)
    return _say(args, told, lines_of(told))


def _compare(data: DataSettings, args: argparse.Namespace) -> int:
    from finetune.side_by_side import Manner, compared, lines_of, make_kept

    if args.kept:
        found = make_kept(existing(data), data, args.kept)
        return _say(args, found, lines_of(found))
    if len(args.versions) != 2:
        raise BadInput("Name two versions, such as `python -m finetune compare 0 1`.")
    prompts = [*args.prompt, *(_lines(args.file) if args.file else [])]
    how = checked_sampling({name: getattr(args, name) for name in ("temperature", "top_p", "top_k", "seed")})
    if args.max_new_tokens < 1:
        raise BadInput(f"--max-new-tokens {args.max_new_tokens} cannot be used; give a whole number above 0.")
    manner = Manner(**how, max_new_tokens=args.max_new_tokens)
    found = compared(existing(data, reads=True), data, (args.versions[0], args.versions[1]), prompts, manner)
    return _say(args, found, lines_of(found))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--file {str(file)!r} cannot be read: {error}; give a text file, one prompt a line.") from error


def _trial(data: DataSettings, args: argparse.Namespace) -> int:
    return _TRIAL[args.act](existing(data, reads=args.act == "status"), args)


def _begin(store: Store, args: argparse.Namespace) -> int:
    from finetune.trials import trial_rule

    store.begin_trial(args.version, args.share, trial_rule(TrialSettings.given(args)))
    return _status(store, args)


def _end(store: Store, args: argparse.Namespace) -> int:
    return _told(args, store.end_trial(args.promote))


def _look(store: Store, args: argparse.Namespace) -> int:
    from finetune.trials import look

    going = store.trial()
    look(store, now())
    return _told(args, next((line for line in store.trials() if going and line.id == going.id), None))


def _status(store: Store, args: argparse.Namespace) -> int:
    return _told(args, store.trial())


def _told(args: argparse.Namespace, trial: TrialLine | None) -> int:
    if trial is None:
        return _say(args, None, ["No version is on trial."])
    said = f"{trial.outcome}. {trial.reason}" if trial.outcome else trial.figures.get("reason", "Not looked at yet.")
    line = f"Version {trial.candidate} with {trial.share:.0%} of new conversations against {trial.against}: {said}"
    return _say(args, vars(trial), [line])


_TRIAL: dict[str, Callable[[Store, argparse.Namespace], int]] = {
    "begin": _begin,
    "status": _status,
    "end": _end,
    "look": _look,
}

COMMANDS: dict[str, Callable[[DataSettings, argparse.Namespace], int]] = {
    "promote": _promote,
    "rollback": _rollback,
    "pin": _pin,
    "unpin": _pin,
    "history": _history,
    "trial": _trial,
    "card": _card,
    "compare": _compare,
}


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> list[argparse.ArgumentParser]:
    """Give the command line these commands; return every parser that takes the options of the data dir."""
    said = {
        "promote": "serve a version, whatever the gate said of it",
        "pin": "keep a version's folder, whatever the rule for old ones says",
        "unpin": "pin a version no longer",
        "card": "tell all that is known of a version",
    }
    parsers = []
    for name, text in said.items():
        parsers.append(commands.add_parser(name, help=text))
        parsers[-1].add_argument("version", type=int)
    parsers.append(commands.add_parser("rollback", help="serve again what served before"))
    parsers.append(commands.add_parser("history", help="list every change of what serves, oldest first"))
    parsers += [_compare_parser(commands), *_trial_parsers(commands)]
    for parser in parsers:
        parser.add_argument("--json", action="store_true", help="print JSON")
    return parsers


def _compare_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    parser = commands.add_parser("compare", help="let two versions reply to the same prompts")
    parser.add_argument("versions", type=int, nargs="*", metavar="VERSION", help="two of them")
    parser.add_argument("--prompt", action="append", default=[], help="a prompt; give it several times for several")
    parser.add_argument("--file", type=Path, help="a text file, one prompt a line")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 (the default) is greedy")
    parser.add_argument("--top-p", type=float, default=1.0, help="share of probability that is picked from")
    parser.add_argument("--top-k", type=int, default=0, help="likeliest tokens that are picked from; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of both versions' picks")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="longest reply")
    parser.add_argument("--kept", metavar="ID", help="make a comparison that the page asked for: DIR/compared/ID.json")
    return parser


def _trial_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> list[argparse.ArgumentParser]:
    acts = commands.add_parser("trial", help="A/B: let thumbs decide on a version").add_subparsers(
        dest="act", required=True
    )
    begin = acts.add_parser("begin", help="give a version a share of new conversations, until thumbs decide")
    begin.add_argument("version", type=int)
    begin.add_argument("--share", type=float, default=0.2, help="of new conversations, at most 0.5 (default: 0.2)")
    for name in ("trial_days", "trial_most"):
        text = TrialSettings.model_fields[name].description
        begin.add_argument("--" + name.removeprefix("trial_"), dest=name, default=argparse.SUPPRESS, help=text)
    end = acts.add_parser("end", help="end the trial by hand; what served before serves alone again, but for --promote")
    which = end.add_mutually_exclusive_group()
    which.add_argument("--promote", action="store_true", help="serve the candidate from now on")
    which.add_argument("--withdraw", action="store_false", dest="promote", help="the default")
    status = acts.add_parser("status", help="tell how the trial stands")
    look = acts.add_parser("look", help="look once, and end the trial if its rule says so; the app looks by itself")
    return [begin, end, status, look]
