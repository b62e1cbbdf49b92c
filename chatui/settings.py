"""How the page is served and how replies are written."""

import os
import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from chatui.engine.protocol import Sampling
from chatui.engine.server import Patience, address
from feedback.errors import BadInput
from feedback.ratings import MAX_REASON, MAX_REASONS
from feedback.settings import Interval, Settings, between_commas

_SAMPLING = Sampling()


def parse_reasons(value: Any) -> list[str]:
    """Read reasons between commas. Raises ValueError for none, too many, or one that is too long."""
    reasons = between_commas(value)
    if not 0 < len(reasons) <= MAX_REASONS or max(map(len, reasons)) > MAX_REASON:
        raise ValueError(f"give 1 to {MAX_REASONS} reasons of at most {MAX_REASON} characters, between commas")
    return reasons


def parse_addresses(value: Any) -> list[str]:
    """Read servers' addresses between commas. Raises ValueError with what is wrong with one."""
    return between_commas(value, address)


def parse_names(value: Any) -> list[str]:
    """Read names of hosts between commas. Raises ValueError for what is none."""
    names = between_commas(value, str.lower)
    if not all(re.fullmatch(r"[\w.-]+", name) for name in names):
        raise ValueError("give names alone, such as chat.example.org, between commas")
    return names


Reasons = Annotated[list[str], NoDecode, BeforeValidator(parse_reasons)]
Addresses = Annotated[list[str], NoDecode, BeforeValidator(parse_addresses)]
HostNames = Annotated[list[str], NoDecode, BeforeValidator(parse_names)]


class ChatSettings(Settings):
    """Where the page listens, and the sampling settings that replies begin with."""

    host: str = Field("127.0.0.1", description="address that the page listens on")
    port: int = Field(7860, ge=0, le=65535, description="port that the page listens on")
    allowed_hosts: HostNames = Field(
        [],
        description="names that the page may be asked for by, between commas, such as a proxy's, besides addresses and "
        "localhost; empty: any, or none where it listens on this machine alone",
    )
    temperature: float = Field(_SAMPLING.temperature, ge=0, le=2, description="0 is greedy; higher is more varied")
    top_p: float = Field(_SAMPLING.top_p, gt=0, le=1, description="share of probability that is picked from")
    top_k: int = Field(_SAMPLING.top_k, ge=0, description="number of tokens that are picked from; 0: all")
    repetition_penalty: float = Field(
        _SAMPLING.repetition_penalty, ge=0.5, le=2, description="above 1, what was said is less likely again"
    )
    max_new_tokens: int = Field(_SAMPLING.max_new_tokens, ge=1, description="longest reply, in tokens")
    max_streams: int = Field(32, ge=1, le=512, description="replies that are computed at once; further ones wait")
    max_waiting: int = Field(64, ge=0, le=10_000, description="replies that wait; more are told to try again")
    engine_memory: float = Field(
        0,
        ge=0,
        description="GiB for the model's weights and caches; 0: caches have half of what a second copy leaves free on "
        "a GPU, a quarter on a CPU",
    )
    weights: Literal["auto", "float32", "bfloat16", "int8", "int4"] = Field(
        "auto", description="form of the weights on a CPU; auto: the fastest that says the same, as tried at the start"
    )

    engine_url: Addresses = Field(
        [],
        description="OpenAI-compatible servers that write the replies instead of this process, between commas; "
        "their key is read from the environment variable RAPPORT_ENGINE_KEY",
    )
    engine_model: str = Field("", description="the base model's name at these servers; empty: the first they list")
    engine_versions_dir: str = Field(
        "", description="where these servers see the folder DATA_DIR/versions; empty: where this process does"
    )
    engine_connect_timeout: Interval = Field(
        timedelta(seconds=5), description="longest wait for a connection to such a server; or off"
    )
    engine_token_timeout: Interval = Field(
        timedelta(minutes=2), description="longest wait for a reply's next token from such a server; or off"
    )

    reasons_up: Reasons = Field(
        ["accurate", "clear", "helpful", "style"], description="reasons offered for a thumb up, between commas"
    )
    reasons_down: Reasons = Field(
        ["wrong", "ignored", "long", "unclear", "format", "refused"],
        description="reasons offered for a thumb down, between commas",
    )
    end_unfollowed_after: Interval = Field(
        timedelta(minutes=10), description="a reply that nobody has followed for so long is stopped; or off"
    )

    @property
    def unfollowed_s(self) -> float:
        """Seconds after which a reply that nobody follows is stopped."""
        return self.end_unfollowed_after.total_seconds() if self.end_unfollowed_after else float("inf")

    @property
    def engine_key(self) -> str:
        """The servers' key: no field, so that no command line shows it. Raises BadInput."""
        key = os.environ.get("RAPPORT_ENGINE_KEY", "").strip()
        if not all("!" <= character <= "~" for character in key):
            raise BadInput("RAPPORT_ENGINE_KEY cannot be used: a key is letters, digits and signs, without spaces.")
        return key

    @property
    def patience(self) -> Patience:
        """How long servers are waited for."""
        waits = (self.engine_connect_timeout, self.engine_token_timeout)
        return Patience(*(wait.total_seconds() if wait else float("inf") for wait in waits))

    @property
    def sampling(self) -> Sampling:
        """The sampling settings of a new reply."""
        return Sampling(self.temperature, self.top_p, self.top_k, self.repetition_penalty, self.max_new_tokens)
