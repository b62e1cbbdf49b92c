"""python -m finetune retrain | pairs | evaluate VERSION --data FILE | versions | runs | ... (version_commands.py)"""

import argparse
import json
import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

# Nothing that a run needs is fetched while it runs, except a base model named for the first time.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from feedback.errors import Busy, RapportError
from feedback.settings import DataSettings
from feedback.store import Store
from finetune import version_commands
from finetune.lock import declare_dead_runs
from finetune.settings import PairSettings, ScheduleSettings, TrainSettings

PROMOTED, FAILED, REFUSED, NOT_ENOUGH, LOCKED = 0, 1, 3, 4, 75


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code (for `retrain`: 0 promoted, 3 refused, 4 not enough, 75 locked)."""
    args = _parser().parse_args(arguments)
    try:
        data = DataSettings.given(args)
        return int(_COMMANDS[args.command](data, args))
    except RapportError as error:
        print(error, file=sys.stderr)
        return FAILED


def _retrain(data: DataSettings, args: argparse.Namespace) -> int:
    """Make one run; the last line is one object of JSON, however it ends."""
    from finetune.pipeline import RunFailed, retrain
    from finetune.schedule import NotEnough

    try:
        store = Store.open(data.database)
        result = retrain(store, data, TrainSettings.given(args), ScheduleSettings.given(args), args.force)
    except NotEnough as error:
        return _last_line(NOT_ENOUGH, "not_enough_feedback", str(error))
    except Busy as error:
        return _last_line(LOCKED, "locked", str(error))
    except RunFailed as error:
        return _last_line(FAILED, "failed", str(error), error.run)
    # Whoever reads the last line must find one; the traceback stands above it.
    except Exception as error:  # noqa: BLE001
        if not isinstance(error, RapportError):
            traceback.print_exc()
        return _last_line(FAILED, "failed", str(error))
    code = PROMOTED if result.verdict == "promoted" else REFUSED
    return _last_line(code, result.verdict, result.reason, result.run, result.version)


def _last_line(code: int, verdict: str, reason: str, run: int | None = None, version: int | None = None) -> int:
    print(json.dumps({"run": run, "version": version, "verdict": verdict, "reason": reason}, ensure_ascii=False))
    return code


def _pairs(data: DataSettings, args: argparse.Namespace) -> int:
    from finetune.explain import explained, explanation, look, template_of, token_lines, token_rows

    store, template = Store.open(data.database), template_of(data)
    built = look(store, data, template, PairSettings.given(args))
    if args.tokens is not None:
        found = token_rows(store, built, template, args.tokens)
        lines = [json.dumps(found, ensure_ascii=False)] if args.json else token_lines(found)
    else:
        told = explained(built)
        lines = [json.dumps(told)] if args.json else explanation(told)
    for line in lines:
        print(line)
    return 0


def _versions(data: DataSettings, args: argparse.Namespace) -> int:
    rows = [
        {
            "version": v.number,
            "run": v.run_id,
            "verdict": v.verdict,
            "serving": v.share > 0,
            "share": v.share,
            "path": str(data.data_dir / v.path),
            "reason": v.reason,
        }
        for v in Store.open(data.database).versions()
    ]
    if args.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        print(f"{row['version']:>4}  {'serves' if row['serving'] else '':7} {row['verdict']:9} {row['reason']}")
    return 0


def _runs(data: DataSettings, args: argparse.Namespace) -> int:
    store = Store.open(data.database)
    declare_dead_runs(store, data)
    rows = [asdict(run) for run in reversed(store.runs())]
    if args.json:
        keys = ("status", "step", "total", "version", "reason")
        print(json.dumps([{"run": row["id"], **{key: row[key] for key in keys}} for row in rows]))
        return 0
    for row in rows:
        print(f"{row['id']:>4}  {row['status']:10} {row['step']:>5} / {row['total']:<5} {row['reason']}")
    return 0


def _evaluate(data: DataSettings, args: argparse.Namespace) -> int:
    from finetune.report import evaluated, lines_of

    version = data.data_dir / Store.open(data.database).version(args.version).path if args.version else None
    found = evaluated(data, args.version, version, args.data)
    for line in found["data"]["bad_lines"]:
        print(f"line {line['number']}: {line['reason']}", file=sys.stderr)
    for line in [json.dumps(found)] if args.json else lines_of(found):
        print(line)
    return 0


_COMMANDS = {
    "retrain": _retrain,
    "pairs": _pairs,
    "evaluate": _evaluate,
    "versions": _versions,
    "runs": _runs,
    **version_commands.COMMANDS,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m finetune", description="From the record to a better version.")
    commands = parser.add_subparsers(dest="command", required=True)
    retrain = commands.add_parser("retrain", help="train on the feedback, and promote the result if the gate lets it")
    retrain.add_argument("--force", action="store_true", help="do not wait for enough feedback; the gate still decides")
    TrainSettings.add_to(retrain)
    ScheduleSettings.add_to(retrain)
    pairs = commands.add_parser("pairs", help="say what a run would learn from now; writes nothing")
    view = pairs.add_mutually_exclusive_group(required=True)
    view.add_argument(
        "--explain", action="store_true", help="the rules with what each took or rejected, splits, weights"
    )
    view.add_argument("--tokens", metavar="MESSAGE_ID", help="which tokens of a reply's row carry loss")
    pairs.add_argument("--json", action="store_true", help="print JSON")
    PairSettings.add_to(pairs)
    evaluate = commands.add_parser("evaluate", help="measure a version on a file of rated conversations")
    evaluate.add_argument("version", type=int)
    evaluate.add_argument("--data", type=Path, required=True, help="a file that `python -m feedback import` takes")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    for name, text in (("versions", "list the versions"), ("runs", "list the runs")):
        commands.add_parser(name, help=text).add_argument("--json", action="store_true", help="print JSON")
    about_versions = version_commands.add_to(commands)
    for command in {*commands.choices.values(), *about_versions}:
        DataSettings.add_to(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
