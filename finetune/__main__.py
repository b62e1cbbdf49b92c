"""python -m finetune COMMAND: make runs, look at what they learn and made, choose what serves; --help lists them."""

import argparse
import json
import os
import signal
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

# Nothing that a run needs is fetched while it runs, except a base model named for the first time.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from feedback.errors import BadInput, Busy, RapportError
from feedback.existing import existing
from feedback.settings import DataSettings
from feedback.store import Store
from feedback.trouble import DatabaseTrouble, in_words
from finetune import version_commands
from finetune.lock import dead_run, the_only_run
from finetune.settings import DiskSettings, PairSettings, ScheduleSettings, TrainSettings

PROMOTED, FAILED, REFUSED, NOT_ENOUGH, CANCELLED, LOCKED = 0, 1, 3, 4, 5, 75


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code (for `retrain`: 0 promoted, 3 refused, 4 not enough, 5 cancelled,
    75 locked)."""
    args = _parser().parse_args(arguments)
    try:
        data = DataSettings.given(args)
        return int(_COMMANDS[args.command](data, args))
    except (RapportError, DatabaseTrouble) as error:
        print(in_words(error) if isinstance(error, DatabaseTrouble) else error, file=sys.stderr)
        return LOCKED if isinstance(error, Busy) else FAILED


def _retrain(data: DataSettings, args: argparse.Namespace) -> int:
    """Make one run, or this process's share of it."""
    from finetune.follow import follow
    from finetune.machine import step_back
    from finetune.spread import together

    if __name__ == "__main__":  # who calls `main` in a process of their own keep its priority
        step_back()
    with together() as spread:
        if spread.main:
            return _make_run(data, args)
        follow(data)
    return 0


def _make_run(data: DataSettings, args: argparse.Namespace) -> int:
    """Make one run; the last line is one object of JSON, however it ends."""
    from finetune.pipeline import RunCancelled, RunFailed, retrain
    from finetune.schedule import NotEnough

    try:
        settings, schedule = TrainSettings.given(args), ScheduleSettings.given(args)
        result = retrain(Store.open(data.database), data, settings, schedule, args.force)
    except NotEnough as error:
        return _last_line(NOT_ENOUGH, "not_enough_feedback", str(error))
    except Busy as error:
        return _last_line(LOCKED, "locked", str(error))
    except RunCancelled as error:
        return _last_line(CANCELLED, "cancelled", str(error), error.run)
    except RunFailed as error:
        return _last_line(FAILED, "failed", str(error), error.run)
    # Whoever reads the last line must find one; the traceback stands above it.
    except Exception as error:  # noqa: BLE001
        if not isinstance(error, RapportError):
            traceback.print_exc()
        why = in_words(error) if isinstance(error, DatabaseTrouble) else str(error)
        return _last_line(FAILED, "failed", why)
    code = PROMOTED if result.verdict == "promoted" else REFUSED
    return _last_line(code, result.verdict, result.reason, result.run, result.version)


def _last_line(code: int, verdict: str, reason: str, run: int | None = None, version: int | None = None) -> int:
    told = {"run": run, "version": version, "verdict": verdict, "reason": reason}
    print(json.dumps(told, ensure_ascii=False), flush=True)
    return code


def _schedule(data: DataSettings, args: argparse.Namespace) -> int:
    """Start runs when they are due, until SIGTERM; with --once look once, and wait for the run if one was due."""
    from finetune.base import check_base, check_record, ensure_base
    from finetune.scheduler import Scheduler
    from finetune.tracking import check_trackers

    settings, schedule = TrainSettings.given(args), ScheduleSettings.given(args)
    check_trackers(settings.report_to)
    check_base(data)
    store = Store.open(data.database)
    check_record(data, store)
    scheduler = Scheduler(store, data, settings, schedule)
    ensure_base(data)  # last: it takes the longest, and nothing that is refused should have waited for it
    if args.once:
        print(scheduler.look(), flush=True)
        return scheduler.wait()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: scheduler.close())
    print(f"{scheduler.outlook()} SIGTERM or Ctrl-C ends the schedule; a run under way goes on.", flush=True)
    scheduler.run()
    return 0


def _cancel(data: DataSettings, args: argparse.Namespace) -> int:
    store = existing(data)
    number = args.run
    if number is None:
        newest = store.runs(limit=1)
        if not newest or newest[0].finished_at is not None:
            raise BadInput("No run is under way, so there is nothing to cancel.")
        number = newest[0].id
    store.ask_cancel(number)
    dead_run(store, data)  # which ends it at once if no process is at it
    line = store.run_diary(number).line
    print(line.reason if line.finished_at else f"Run {number} ends within seconds, as soon as it looks.")
    return 0


def _prune(data: DataSettings, args: argparse.Namespace) -> int:
    from finetune.prune import plan, prune

    settings, store = DiskSettings.given(args), existing(data)
    if args.dry_run:
        chosen = plan(store, data, settings)
    else:
        with the_only_run(store, data):
            chosen = prune(store, data, settings)
    if args.json:
        print(json.dumps(asdict(chosen)))
    else:
        print(chosen)
    return 0


def _pairs(data: DataSettings, args: argparse.Namespace) -> int:
    from finetune.base import check_record
    from finetune.explain import explained, explanation, look, template_of, token_lines, token_rows

    settings, store = TrainSettings.given(args), existing(data, reads=True)
    check_record(data, store)
    template = template_of(data)
    built = look(store, data, template, settings)
    if args.tokens is not None:
        found = token_rows(store, built, template, args.tokens, settings.negative)
        lines = [json.dumps(found, ensure_ascii=False)] if args.json else token_lines(found)
    else:
        told = explained(built, settings.negative)
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
        for v in existing(data, reads=True).versions()
    ]
    if args.json:
        print(json.dumps(rows))
        return 0
    if not rows:
        print(
            "There is no version yet; the first start of the app, or the first run, adds the base model as version 0."
        )
    for row in rows:
        print(f"{row['version']:>4}  {'serves' if row['serving'] else '':7} {row['verdict']:9} {row['reason']}")
    return 0


def _runs(data: DataSettings, args: argparse.Namespace) -> int:
    store = existing(data, reads=True)
    dead = None if store.read_only or not data.data_dir.is_dir() else dead_run(store, data)
    rows = [asdict(run) for run in reversed(store.runs(limit=None))]
    if args.json:
        keys = ("status", "step", "total", "version", "attempts", "reason")
        print(json.dumps([{"run": row["id"], **{key: row[key] for key in keys}} for row in rows]))
        return 0
    if not rows:
        print("There is no run yet; `python -m finetune retrain` makes one.")
    for row in rows:
        print(f"{row['id']:>4}  {row['status']:10} {row['step']:>5} / {row['total']:<5} {row['reason']}")
    if dead is not None:
        print(f"Run {dead.id} was cut off; the next `python -m finetune retrain` takes it up again.")
    return 0


def _evaluate(data: DataSettings, args: argparse.Namespace) -> int:
    from finetune.base import check_record
    from finetune.report import evaluated, lines_of

    store = existing(data)  # which must be one that can be written: what was measured is kept beside it
    check_record(data, store)
    version = data.data_dir / store.version(args.version).path if args.version else None
    found = evaluated(data, args.version, version, args.data)
    for line in found["data"]["bad_lines"]:
        print(f"line {line['number']}: {line['reason']}", file=sys.stderr)
    for line in [json.dumps(found)] if args.json else lines_of(found):
        print(line)
    return 0


def _trace(data: DataSettings, args: argparse.Namespace) -> int:
    from finetune.traced import trace_lines

    given = {name: getattr(args, name) for name in _TRACED}
    found = existing(data, reads=True).trace(**given)
    for line in [json.dumps(found, ensure_ascii=False)] if args.json else trace_lines(found):
        print(line)
    return 0


def _revoked(data: DataSettings, args: argparse.Namespace) -> int:
    from finetune.traced import revoked_lines

    rows = existing(data, reads=True).revoked()
    for line in [json.dumps(rows, ensure_ascii=False)] if args.json else revoked_lines(rows):
        print(line)
    return 0


_TRACED = ("rating", "message", "conversation", "version")
_COMMANDS = {
    "retrain": _retrain,
    "schedule": _schedule,
    "cancel": _cancel,
    "pairs": _pairs,
    "evaluate": _evaluate,
    "versions": _versions,
    "runs": _runs,
    "prune": _prune,
    "trace": _trace,
    "revoked": _revoked,
    **version_commands.COMMANDS,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m finetune", description="From the record to a better version.")
    commands = parser.add_subparsers(dest="command", required=True)
    retrain = commands.add_parser("retrain", help="train on the feedback, and promote the result if the gate lets it")
    retrain.add_argument("--force", action="store_true", help="do not wait for enough feedback; the gate still decides")
    TrainSettings.add_to(retrain)
    ScheduleSettings.add_to(retrain)
    said = "start runs when they are due, without the page open, on the data dir's host"
    schedule = commands.add_parser("schedule", help=said)
    schedule.add_argument("--once", action="store_true", help="look once, and wait for the run if one was due")
    TrainSettings.add_to(schedule)
    ScheduleSettings.add_to(schedule)
    cancel = commands.add_parser("cancel", help="end a run, the one under way if none is named")
    cancel.add_argument("run", type=int, nargs="?")
    prune = commands.add_parser("prune", help="delete the folders of old versions and runs; the record keeps its rows")
    prune.add_argument("--dry-run", action="store_true", help="only say what would go")
    prune.add_argument("--json", action="store_true", help="print JSON")
    DiskSettings.add_to(prune)
    pairs = commands.add_parser("pairs", help="say what a run would learn from now; writes nothing")
    view = pairs.add_mutually_exclusive_group(required=True)
    view.add_argument(
        "--explain", action="store_true", help="the rules with what each took or rejected, splits, uses, weights"
    )
    view.add_argument("--tokens", metavar="MESSAGE_ID", help="what is made of a reply, and which tokens carry loss")
    pairs.add_argument("--json", action="store_true", help="print JSON")
    PairSettings.add_to(pairs)
    TrainSettings.add_to(pairs, only=["negative"])
    evaluate = commands.add_parser("evaluate", help="measure a version on a file of rated conversations")
    evaluate.add_argument("version", type=int)
    evaluate.add_argument("--data", type=Path, required=True, help="a file that `python -m feedback import` takes")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    trace = commands.add_parser("trace", help="what a rating, message or conversation reached, or what a version saw")
    of = trace.add_mutually_exclusive_group(required=True)
    for name in _TRACED:
        of.add_argument(f"--{name}", metavar="N" if name == "version" else "ID")
    trace.add_argument("--json", action="store_true", help="print one JSON object")
    for name, text in (
        ("versions", "list the versions"),
        ("runs", "list the runs"),
        ("revoked", "what was taken back after a version was trained on it, with those versions"),
    ):
        commands.add_parser(name, help=text).add_argument("--json", action="store_true", help="print JSON")
    about_versions = version_commands.add_to(commands)
    for command in {*commands.choices.values(), *about_versions}:
        DataSettings.add_to(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
