"""What the store hands out: small frozen records, so that no session outlives its block."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Said:
    """One message as a person sees it, with what is thought of it."""

    id: str
    parent_id: str | None
    role: str
    content: str
    status: str
    version: int | None = None
    rating: int = 0
    reasons: tuple[str, ...] = ()
    comment: str = ""
    correction: str | None = None
    correction_id: int | None = None
    correction_shown: bool = False
    error: str | None = None
    finish: str | None = None
    given: int | None = None  # how many messages a reply of ours was given as prompt
    learned_by: int | None = None  # the first version trained on this reply as it is rated or corrected now
    siblings: tuple[str, ...] = ()  # every message under the same parent, itself too, oldest first

    @property
    def shown(self) -> str:
        """The text that stands on the page, and that the model is given: the correction where that is shown."""
        return self.correction if self.correction_shown and self.correction is not None else self.content


@dataclass(frozen=True)
class ConversationLine:
    """One entry of the list of past conversations."""

    id: str
    title: str
    updated_at: datetime
    running: bool


@dataclass(frozen=True)
class Found:
    """A conversation that a search found; marks are (start, end) places in title and snippet."""

    line: ConversationLine
    title_marks: tuple[tuple[int, int], ...] = ()
    snippet: str = ""
    snippet_marks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class PersonaLine:
    """A persona that a person made."""

    id: str
    name: str
    system_prompt: str
    sampling: dict[str, Any]


@dataclass(frozen=True)
class Opening:
    """What a conversation was opened with; `sampling` holds the settings that differ from the app's."""

    persona: str = ""
    system_prompt: str = ""
    sampling: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Feedback:
    """A reply that somebody thinks something of, with all that a training pair needs to know about it.

    `prompt` is what the model was given, in the wording it was given; for an imported reply, the messages above it.
    `ratings` maps rater to +1 / -1, `reasons` to why, if they said so. Who chose it over a sibling is in `chosen_by`,
    who chose a sibling or found both bad in `discarded_by`; `beat` maps the siblings that most chose it over to what
    they say, those left out that may not teach.
    `changed_at` is when the newest of thumb, correction, choice and a reviewer's approval came into the record; of a
    reply without any, the time it was written. `said_at` is the newest by the dates that files tell, None where that is
    the same. `imported` are those of whose opinion a file tells; who corrected a reply here is in `corrected_by`.
    """

    message_id: str
    conversation_id: str
    prompt: tuple[tuple[str, str], ...]
    content: str
    status: str
    finish: str | None
    version: int | None
    ratings: dict[str, int]
    reasons: dict[str, tuple[str, ...]]
    correction: str | None
    correction_id: int | None
    changed_at: datetime
    verdict: str | None = None  # a reviewer's: approved or rejected
    chosen_by: tuple[str, ...] = ()
    discarded_by: tuple[str, ...] = ()
    beat: dict[str, str] = field(default_factory=dict)
    corrected_by: str | None = None
    corrected_at: datetime | None = None  # by the date that a file tells, if one does
    said_at: datetime | None = None
    imported: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """A comparison of two replies; `outcome` is None until it is judged, and until then nobody is told the versions."""

    id: int
    left_id: str
    right_id: str
    outcome: str | None
    left_version: int | None  # None: it was imported
    right_version: int | None


@dataclass(frozen=True)
class Thumb:
    """One rater's thumb on a reply, as a reviewer sees it."""

    rater: str
    value: int
    reasons: tuple[str, ...]
    comment: str


@dataclass(frozen=True)
class ReviewItem:
    """A reply that waits for a reviewer, with what was asked and what is thought of it."""

    message_id: str
    conversation_id: str
    question: str
    content: str
    version: int | None
    created_at: datetime
    thumbs: tuple[Thumb, ...]
    correction: str | None
    signals: tuple[str, ...]
    why: str = ""  # of a reply that is asked about: uncertain, disputed, unlike or random


@dataclass(frozen=True)
class RandomRate:
    """Replies asked about by chance: how many were answered, how many got a thumb up, and its 90 % interval."""

    asked: int
    answered: int
    up: int
    low: float
    high: float


@dataclass(frozen=True)
class RunLine:
    """One training run as it stands."""

    id: int
    status: str
    reason: str
    step: int
    total: int
    metrics: dict[str, Any]
    version: int | None
    created_at: datetime
    heartbeat_at: datetime
    finished_at: datetime | None
    attempts: int = 1  # processes that worked on it, one after the other
    cancel_asked: str | None = None  # the person who wants it ended


@dataclass(frozen=True)
class VersionLine:
    """One model version; `share` is its part of new conversations now, 0 when it does not serve.

    A pinned one is never pruned; `pruned_at` is when its folder was deleted to free the disk.
    """

    number: int
    kind: str
    base_model: str
    path: str
    run_id: int | None
    verdict: str
    reason: str
    metrics: dict[str, Any]
    created_at: datetime
    share: float = 0.0
    pinned: bool = False
    pruned_at: datetime | None = None


@dataclass(frozen=True)
class Serving:
    """The promotion in force: which versions serve, and with what share."""

    promotion_id: int
    shares: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PromotionLine:
    """One change of what serves; `restores_id` is what a rollback went back to, `trial_id` the trial it began."""

    id: int
    created_at: datetime
    person: str
    reason: str
    shares: dict[int, float]
    restores_id: int | None
    trial_id: int | None


@dataclass(frozen=True)
class TrialLine:
    """A candidate's trial beside what served before; `outcome` is None while it goes on.

    `figures` are those of the last look, or those it ended with: see `finetune.trials.Standing`.
    """

    id: int
    promotion_id: int
    candidate: int
    against: int
    share: float
    rule: dict[str, Any]
    person: str
    began_at: datetime
    outcome: str | None
    reason: str
    figures: dict[str, Any]
    ended_at: datetime | None


@dataclass(frozen=True)
class Earned:
    """The thumbs that a version's replies got: up, down, and of how many conversations.

    `share` is the mean over conversations of their share of thumbs up, None without any; `low` and `high` its 90 %
    interval (Wilson's, of so many conversations: thumbs of one conversation are no independent witnesses).
    """

    up: int
    down: int
    conversations: int
    share: float | None
    low: float
    high: float
