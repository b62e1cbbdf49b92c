"""The tables, each with what a row of it is; no other file defines a column.

Messages are insert-only, but for a reply while it is being written. Everything a person changes (a
rating, a correction, what serves) is kept as one row per change.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, DateTime, Float, ForeignKey, Index, Integer, MetaData, String, Text, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

LOCAL = "local"  # the one person there is until there are accounts
RUN_OPEN = ("queued", "building", "training", "evaluating")
RUN_ENDED = ("promoted", "refused", "failed", "cancelled")


class UtcTime(TypeDecorator[datetime]):
    """An instant, aware and in UTC on both sides; SQLite itself keeps no time zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC without its zone."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give UTC back with its zone."""
        return None if value is None else value.replace(tzinfo=UTC)


def now() -> datetime:
    """The present instant in UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """The common ground of the tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {datetime: UtcTime, dict[str, Any]: JSON, list[Any]: JSON, str: String}


class Person(Base):
    """Who chats or rates. Role: chatter, reviewer or admin."""

    __tablename__ = "persons"
    id: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str] = mapped_column(default="chatter")
    created_at: Mapped[datetime] = mapped_column(default=now)


class Conversation(Base):
    """A tree of messages; `head_id` is the leaf whose path is shown and continued.

    `persona` is the id of the persona it was opened with, "" for none; older and imported conversations hold the name
    of an own one. The first message is then `system_prompt`, as a system message. `sampling` holds the settings that
    differ from the app's.
    """

    __tablename__ = "conversations"
    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str] = mapped_column(ForeignKey("persons.id"), index=True)
    title: Mapped[str] = mapped_column(default="")
    source: Mapped[str] = mapped_column(default="chat")  # chat or import
    head_id: Mapped[str | None]
    persona: Mapped[str] = mapped_column(default="", server_default="")
    system_prompt: Mapped[str] = mapped_column(Text, default="", server_default="")
    sampling: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, index=True)
    deleted_at: Mapped[datetime | None] = mapped_column(index=True)
    erased_at: Mapped[datetime | None]  # its texts are gone for good; `deleted_at` is set then, too


class Persona(Base):
    """A system prompt with a name and sampling settings, made by a person; those that Rapport ships have no row."""

    __tablename__ = "personas"
    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str] = mapped_column(ForeignKey("persons.id"), index=True)
    name: Mapped[str]
    system_prompt: Mapped[str] = mapped_column(Text)
    sampling: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    deleted_at: Mapped[datetime | None]


class Message(Base):
    """One node of the tree; `seq` orders a conversation's messages by their arrival.

    `status` is running, complete, stopped, interrupted or error; `finish` tells how a reply ended: end (by itself),
    length (at its limit) or stopped.
    """

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("conversation_id", "seq"),
        Index("ix_messages_role_status", "role", "status"),  # how many there are is counted off it
        Index("ix_messages_role_created_at", "role", "created_at"),  # a reviewer's queue is read off it, newest first
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("messages.id"), index=True)
    seq: Mapped[int]
    role: Mapped[str]
    content: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(default="complete", index=True)
    finish: Mapped[str | None] = mapped_column(index=True)
    correction_shown: Mapped[bool] = mapped_column(default=False)  # its correction stands in its place, for all to see
    created_at: Mapped[datetime] = mapped_column(default=now)


class Reply(Base):
    """How a reply of ours came to be: version, settings, prompt, times (seconds) and token counts.

    `prompt` lists what the model was given, oldest first: `{"message": id}`, with `"correction": id`
    where it was given a correction's wording instead of the message's. `continues_id` is the reply whose text it
    was given as its own beginning. Imported replies have no row here.
    """

    __tablename__ = "replies"
    __table_args__ = (Index("ix_replies_version_heartbeat_at", "version", "heartbeat_at"),)
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), primary_key=True)
    version: Mapped[int] = mapped_column(ForeignKey("model_versions.number"))
    sampling: Mapped[dict[str, Any]]
    prompt: Mapped[list[Any]]
    continues_id: Mapped[str | None] = mapped_column(ForeignKey("messages.id"))
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    first_token_s: Mapped[float | None]
    duration_s: Mapped[float | None]
    error: Mapped[str | None] = mapped_column(Text)
    writer: Mapped[str]
    heartbeat_at: Mapped[datetime] = mapped_column(default=now)


class Rating(Base):
    """A rater's current thumb on one reply; value 0 is a thumb taken back, so that its id stays known.

    Conversation, version (None: imported) and persona are the reply's, kept here so that hundreds of thousands are
    counted without a look at each message. `said_at`, here and in what follows, is when a file tells that it was said
    (without a date in the file, when that was taken in); None for what was said here.
    """

    __tablename__ = "ratings"
    __table_args__ = (UniqueConstraint("message_id", "rater_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id"))
    rater_id: Mapped[str] = mapped_column(ForeignKey("persons.id"), index=True)
    value: Mapped[int]
    reasons: Mapped[list[Any]]
    comment: Mapped[str] = mapped_column(Text, default="")
    conversation_id: Mapped[str] = mapped_column(default="", server_default="")
    version: Mapped[int | None]
    persona: Mapped[str] = mapped_column(default="", server_default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, index=True)
    said_at: Mapped[datetime | None]


class RatingEvent(Base):
    """One change of a rating, append-only."""

    __tablename__ = "rating_events"
    id: Mapped[int] = mapped_column(primary_key=True)
    rating_id: Mapped[int] = mapped_column(ForeignKey("ratings.id"), index=True)
    value: Mapped[int]
    reasons: Mapped[list[Any]]
    comment: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)


class Correction(Base):
    """What the reply should have said, append-only; the newest row counts, `text` None takes it back."""

    __tablename__ = "corrections"
    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), index=True)
    author_id: Mapped[str] = mapped_column(ForeignKey("persons.id"))
    text: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)
    said_at: Mapped[datetime | None]


class Review(Base):
    """A reviewer's verdict on a reply, append-only; the newest row of a reply counts.

    Verdict: approved (as it stands it may teach), rejected (it is never trained on), None for taken back.
    Taking back a verdict that replaced another repeats that one, with its `created_at` and `said_at`.
    """

    __tablename__ = "reviews"
    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), index=True)
    reviewer_id: Mapped[str] = mapped_column(ForeignKey("persons.id"))
    verdict: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    said_at: Mapped[datetime | None]


class Comparison(Base):
    """Two replies to one message, written side by side; outcome: left, right, tie or both_bad, None until judged."""

    __tablename__ = "comparisons"
    id: Mapped[int] = mapped_column(primary_key=True)
    left_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), index=True)
    right_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), index=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("persons.id"))
    outcome: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    judged_at: Mapped[datetime | None]
    said_at: Mapped[datetime | None]


class Preference(Base):
    """One reply was chosen over another."""

    __tablename__ = "preferences"
    id: Mapped[int] = mapped_column(primary_key=True)
    chosen_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), index=True)
    rejected_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), index=True)
    rater_id: Mapped[str] = mapped_column(ForeignKey("persons.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    said_at: Mapped[datetime | None]


class Signal(Base):
    """What a person did that says a little about a reply, apart from ratings: see `turns.SIGNALS`."""

    __tablename__ = "signals"
    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), index=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("persons.id"))
    kind: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Run(Base):
    """One run. Status: queued, building, training, evaluating, then one of RUN_ENDED; `run_events` tells when.

    `attempts` counts the processes that worked on it: one that was killed is taken up again by the next. Who wants it
    ended is in `cancel_asked_by`; the run sees it at its next step.
    """

    __tablename__ = "runs"
    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(default="queued", index=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    settings: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    step: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    writer: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=1, server_default="1")
    cancel_asked_by: Mapped[str | None]  # a person; SQLite cannot add a foreign key to a table that others refer to
    created_at: Mapped[datetime] = mapped_column(default=now)
    heartbeat_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]


class RunEvent(Base):
    """A run entered a state, or was taken up again (`reason` says so); append-only."""

    __tablename__ = "run_events"
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), index=True)
    status: Mapped[str]
    reason: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)


class RunPoint(Base):
    """One point of a run's curves. Name: loss (a step's), validation or general (an epoch's), in nats a token."""

    __tablename__ = "run_points"
    __table_args__ = (UniqueConstraint("run_id", "name", "step"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    name: Mapped[str]
    step: Mapped[int]
    value: Mapped[float] = mapped_column(Float)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Dataset(Base):
    """The frozen list of pairs of one run: the rule that chose them, and how many each rule took or rejected."""

    __tablename__ = "datasets"
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), index=True)
    rule: Mapped[dict[str, Any]]
    counts: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class TrainingPair(Base):
    """One text of a reply in one dataset. Kind: see `judging.GOOD` and `BAD`; split: train, validation or held_out."""

    __tablename__ = "training_pairs"
    __table_args__ = (Index("ix_training_pairs_dataset_split", "dataset_id", "split"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), index=True)
    correction_id: Mapped[int | None] = mapped_column(ForeignKey("corrections.id"))
    kind: Mapped[str]
    weight: Mapped[float] = mapped_column(Float)
    split: Mapped[str]


class RejectedReply(Base):
    """A reply that gave one dataset no pair, or one pair fewer, and the rule that rejected it."""

    __tablename__ = "rejected_replies"
    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"), index=True)
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), index=True)
    rule: Mapped[str]


class HeldOutPrompt(Base):
    """A prompt that was held out once: whoever asks it again, in nearly these words, is held out too, for good.

    `digest` is of its words, `signature` their MinHash; the words themselves are not kept.
    """

    __tablename__ = "held_out_prompts"
    digest: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"), index=True)
    signature: Mapped[bytes]


class Split(Base):
    """Which side of the wall a conversation is on, for good: `train` or `held_out`, since its first dataset."""

    __tablename__ = "splits"
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"), primary_key=True)
    split: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class ModelVersion(Base):
    """Base model + adapter + the run that made it; number 0 is the base model itself.

    Written last, so that a row's existence means that the folder is whole. Kind: base, adapter or model;
    verdict: base, promoted or refused; `path` is relative to the data dir.
    """

    __tablename__ = "model_versions"
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str]
    base_model: Mapped[str]
    path: Mapped[str]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"), index=True)
    verdict: Mapped[str]
    reason: Mapped[str] = mapped_column(Text, default="")
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    pruned_at: Mapped[datetime | None]  # its folder was deleted to free the disk; what it was stays known


class Pin(Base):
    """A person wants a version's folder kept, or no longer; append-only, the newest row of a version counts."""

    __tablename__ = "pins"
    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(ForeignKey("model_versions.number"), index=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("persons.id"))
    pinned: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Promotion(Base):
    """What serves from this row on, append-only. `restores_id` marks a rollback and what it went back to."""

    __tablename__ = "promotions"
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("persons.id"))
    reason: Mapped[str] = mapped_column(Text, default="")
    restores_id: Mapped[int | None] = mapped_column(ForeignKey("promotions.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)


class PromotionShare(Base):
    """One version of a promotion, with its share of new conversations, 0 to 1."""

    __tablename__ = "promotion_shares"
    promotion_id: Mapped[int] = mapped_column(ForeignKey("promotions.id"), primary_key=True)
    version: Mapped[int] = mapped_column(ForeignKey("model_versions.number"), primary_key=True)
    share: Mapped[float] = mapped_column(Float)


class Trial(Base):
    """A candidate serves a share of new conversations, beside what served before, until thumbs decide.

    `rule` is fixed when it begins and never changed. `outcome` is promoted, withdrawn or ended (by a person, or by
    another promotion), None while it goes on.
    """

    __tablename__ = "trials"
    id: Mapped[int] = mapped_column(primary_key=True)
    promotion_id: Mapped[int] = mapped_column(ForeignKey("promotions.id"), index=True)
    candidate: Mapped[int] = mapped_column(ForeignKey("model_versions.number"))
    against: Mapped[int] = mapped_column(ForeignKey("model_versions.number"))
    share: Mapped[float] = mapped_column(Float)
    rule: Mapped[dict[str, Any]]
    person_id: Mapped[str] = mapped_column(ForeignKey("persons.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    outcome: Mapped[str | None] = mapped_column(index=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    figures: Mapped[dict[str, Any]] = mapped_column(default=dict)
    ended_at: Mapped[datetime | None]


class AskedReply(Base):
    """A reply that was put before a reviewer to be rated. Why: uncertain, disputed, unlike or random.

    Only of those asked at random may a rate of thumbs be read off.
    """

    __tablename__ = "asked_replies"
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), primary_key=True)
    why: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
