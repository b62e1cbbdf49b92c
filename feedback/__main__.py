"""python -m feedback import FILE | export FILE [--format own|sft|kto|dpo] | stats [--json] | erase CONVERSATION..."""

import argparse
import json
import sys
from pathlib import Path
from typing import BinaryIO

from feedback import erase_command
from feedback.errors import RapportError
from feedback.existing import existing
from feedback.settings import DataSettings
from feedback.store import Store
from feedback.transfer import OWN, ImportReport, export_file, import_lines, opened
from feedback.trl import TRL_FORMATS
from feedback.trouble import DatabaseTrouble, in_words


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return 0, 1 when some lines of an import were bad, 2 when nothing was done."""
    args = _parser().parse_args(arguments)
    try:
        data = DataSettings.given(args)
        if args.command == "erase":
            return erase_command.erase(existing(data), data, args)
        if args.command == "import":
            with opened(args.file) as lines:
                return _import(Store.open(data.database), lines)
        return {"export": _export, "stats": _stats}[args.command](existing(data, reads=True), args)
    except (RapportError, DatabaseTrouble) as error:
        print(in_words(error) if isinstance(error, DatabaseTrouble) else error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m feedback", description="Files in and out of the record.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("import", "take in a file of conversations with feedback (own format or KTO rows)"),
        ("export", "write every conversation with its feedback, one per line"),
        ("stats", "count what the record holds"),
    ):
        command = commands.add_parser(name, help=text)
        if name == "stats":
            command.add_argument("--json", action="store_true", help="print one JSON object")
        else:
            command.add_argument("file", type=Path)
        if name == "export":
            forms = "own: all there is, one conversation a line; sft, kto, dpo: what is good and bad, as rows for TRL"
            command.add_argument("--format", choices=(OWN, *TRL_FORMATS), default=OWN, help=f"{forms} (default: own)")
        DataSettings.add_to(command)
    erase_command.add_to(commands)
    return parser


def _import(store: Store, lines: BinaryIO) -> int:
    report = ImportReport()
    try:
        import_lines(store, lines, report)
    except DatabaseTrouble:
        print(f"{report.taken} lines were taken in before; taken in again, they add nothing.", file=sys.stderr)
        raise
    for line in report.bad:
        print(f"line {line.number}: {line.reason}", file=sys.stderr)
    gone = f" {report.deleted} of conversations that were deleted here, which stay so." if report.deleted else ""
    print(f"{report.taken} lines taken in, {len(report.bad)} bad.{gone}")
    return 1 if report.bad else 0


def _export(store: Store, args: argparse.Namespace) -> int:
    count = export_file(store, args.file, args.format)
    # Standard output may be the file itself, as /dev/stdout.
    print(f"{count} lines written to {args.file}.", file=sys.stderr)
    return 0


def _stats(store: Store, args: argparse.Namespace) -> int:
    stats = store.stats()
    if args.json:
        print(json.dumps(stats))
    else:
        for name, count in stats.items():
            print(f"{name.replace('_', ' '):15} {count:>8,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
