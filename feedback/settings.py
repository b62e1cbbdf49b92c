"""What all parts need to know: where the data lies, which database, which base model.

Every settings class here and in `chatui` and `finetune` is read the same way: a value on the command
line wins over its `RAPPORT_*` environment variable, which wins over the default written beside the field.
"""

import argparse
import re
from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import quote

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from feedback.errors import BadInput

MOST_DAYS = 3650  # ten years: a date that far from any other is still a date
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_interval(value: Any) -> timedelta | None:
    """Read `30m`, `6h`, `7d` or `off` (None). Raises ValueError for anything else."""
    if value is None or isinstance(value, timedelta):
        return value
    text = str(value).strip().lower()
    if text == "off":
        return None
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if not match or int(match[1]) == 0:
        raise ValueError("give a whole number above 0 with s, m, h or d, such as 30m, 6h or 7d, or off")
    if int(match[1]) * _SECONDS[match[2]] > MOST_DAYS * _SECONDS["d"]:
        raise ValueError(f"ten years is the most, as {MOST_DAYS}d; off switches it off")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


def between_commas(value: Any, read: Callable[[str], str] = str) -> list[str]:
    """Read what stands between commas, or in a list, each part once and by `read`; empty parts are none."""
    parts = (str(part).strip() for part in (value if isinstance(value, list) else str(value).split(",")))
    return list(dict.fromkeys(read(part) for part in parts if part))


Interval = Annotated[timedelta | None, BeforeValidator(parse_interval)]


class Settings(BaseSettings):
    """A group of settings, filled from the command line, the environment and defaults."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", env_ignore_empty=True, extra="ignore")

    @classmethod
    def add_to(cls, parser: argparse.ArgumentParser, only: Collection[str] = ()) -> None:
        """Give `parser` one `--option` per field, or `only` some; an option that is not given leaves no trace."""
        known = {option for action in parser._actions for option in action.option_strings}
        for name, field in cls.model_fields.items():
            option = "--" + name.replace("_", "-")
            if option in known or (only and name not in only):
                continue
            default = field.get_default(call_default_factory=True)
            text = f"{field.description} (default: {_shown(default)})".replace("%", "%%")
            if field.annotation is bool:
                parser.add_argument(option, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
            else:
                parser.add_argument(option, default=argparse.SUPPRESS, metavar=name.upper(), help=text)

    @classmethod
    def given(cls, args: argparse.Namespace | None = None, **values: Any) -> Self:
        """Build the settings from parsed arguments; `values` win. Raises BadInput with one sentence."""
        taken = {k: v for k, v in vars(args).items() if k in cls.model_fields} if args else {}
        try:
            return cls(**{**taken, **values})
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "settings"
            reason = first["msg"].removeprefix("Value error, ")
            option = "--" + name.replace("_", "-")
            raise BadInput(f"{option} {str(first['input'])!r} cannot be used: {reason}.") from None


def as_arguments(settings: Settings) -> list[str]:
    """Write settings as the command line that gives them again."""
    arguments = []
    for name, value in settings:
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(option if value else option.replace("--", "--no-", 1))
        else:
            arguments.append(f"{option}={_shown(value)}")
    return arguments


def _shown(default: Any) -> str:
    if isinstance(default, timedelta):
        seconds = int(default.total_seconds())
        size, unit = next((s, u) for s, u in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")) if seconds % s == 0)
        return f"{seconds // size}{unit}"
    if isinstance(default, list):
        return ",".join(default)
    return "off" if default is None else str(default)


class DataSettings(Settings):
    """Where everything is kept. `data_dir` holds all state unless `database_url` names another database."""

    data_dir: Path = Field(Path("data"), description="folder that holds the record, the base model and every version")
    database_url: str = Field("", description="another database than DATA_DIR/chat.db, as an SQLAlchemy URL")
    base_model: str = Field(
        "",
        description="causal chat model: a folder or a hub id; empty: what the data dir was made with, else the starter",
    )

    @property
    def database(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{quote(str((self.data_dir / 'chat.db').resolve()))}"

    @property
    def base_dir(self) -> Path:
        """Model, tokenizer and chat template that every version starts from."""
        return self.data_dir / "base"

    @property
    def versions_dir(self) -> Path:
        """One folder per model version."""
        return self.data_dir / "versions"

    @property
    def runs_dir(self) -> Path:
        """One folder per training run."""
        return self.data_dir / "runs"

    @property
    def checks_file(self) -> Path:
        """What is known of each text that may be trained on; may be deleted at any time."""
        return self.data_dir / "checks.db"

    @property
    def lock_file(self) -> Path:
        """Held by the one run that may be under way."""
        return self.data_dir / "retrain.lock"
