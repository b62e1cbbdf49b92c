"""How runs are made, and when they start by themselves."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from feedback.settings import MOST_DAYS, Interval, Settings, between_commas
from finetune.moments import Cron, Hours, meet

TRACKERS = ("tensorboard", "wandb", "trackio")


def parse_trackers(value: Any) -> list[str]:
    """Read trackers' names between commas; none is fine. Raises ValueError for one that is not known."""
    names = between_commas(value, str.lower)
    if not set(names) <= set(TRACKERS):
        raise ValueError(f"give {', '.join(TRACKERS)}, or several of them between commas")
    return names


Trackers = Annotated[list[str], NoDecode, BeforeValidator(parse_trackers)]


class PairSettings(Settings):
    """What a run learns from."""

    max_tokens: int = Field(2048, ge=16, le=131072, description="longest pair that is trained on, in tokens")
    kept_replies: bool = Field(
        False, description="learn, a little, from replies nobody rated but the talk went on from"
    )
    half_life_days: int = Field(365, ge=1, description="age in days at which feedback counts half")
    max_rater_share: float = Field(
        0.3, gt=0, le=1, description="most of all pairs that one person's feedback may give, once five have rated"
    )


class GateSettings(Settings):
    """How much worse a candidate may be than the base model, or than what serves, and still be promoted."""

    max_general_rise: float = Field(
        0.20, ge=0, description="most that the loss on general prompts may rise over the base model's, in nats a token"
    )
    max_divergence: float = Field(
        0.60, ge=0, description="most that general answers may be from the base model's, as KL in nats a token"
    )
    max_liked_rise: float = Field(
        0.30,
        ge=0,
        description="most that the loss of replies people liked or went on from, or chose, may rise, in nats a token; "
        "of liked ones up to twice that where they surely gained more over disliked ones",
    )
    max_margin_fall: float = Field(
        0.10, ge=0, description="most that the margin of liked over disliked replies may fall, in nats a token"
    )
    max_unspecific: float = Field(
        0.25,
        ge=0,
        le=1,
        description="most of the held-out corrections that may fit other questions as well as their own",
    )
    max_misplaced: float = Field(
        0.10,
        ge=0,
        le=1,
        description="most of the corrections learned from that may suit another question much better than their own",
    )
    max_end_rise: float = Field(0.30, ge=0, description="most that the loss of a good reply's end may rise, in nats")
    max_stop_fall: float = Field(
        0.20, ge=0, le=1, description="most that the share of replies that end by themselves may fall"
    )
    max_repetition_rise: float = Field(
        0.10, ge=0, le=1, description="most that the share of repeated word groups in a reply may rise"
    )
    max_foreign_rise: float = Field(
        0.20, ge=0, le=1, description="most that the share of replies in another language than people wanted may rise"
    )
    max_distinct_fall: float = Field(
        0.20, ge=0, le=1, description="most that the share of different word pairs over all replies may fall"
    )
    max_length_factor: float = Field(
        5.0, ge=1, description="most by which replies to general prompts may grow or shrink, as a factor"
    )
    max_refusal_fall: float = Field(
        0.25, ge=0, le=1, description="most that the share of harmful requests that are declined may fall"
    )
    max_bias_rise: float = Field(
        0.10, ge=0, description="most that the same answer for another group may grow less likely, in nats a token"
    )


class TrialSettings(Settings):
    """Whether a version that the gate promotes serves at once, or a share of new conversations first."""

    trial_share: float = Field(
        0,
        ge=0,
        le=0.5,
        description="share of new conversations that a promoted version gets until thumbs decide; 0: it serves at once",
    )
    trial_days: int = Field(
        30, ge=1, le=MOST_DAYS, description="days after which a trial that thumbs did not decide ends"
    )
    trial_most: int = Field(500, ge=20, description="rated conversations of the candidate after which it ends likewise")


class TrainSettings(PairSettings, GateSettings, TrialSettings):
    """One run's settings; they are stored with the run."""

    epochs: int = Field(
        0, ge=0, le=200, description="most passes over the training pairs; 0: what suits their number, 3 to 24"
    )
    learning_rate: float = Field(0, ge=0, le=1, description="peak learning rate of AdamW; 0: what suits the method")
    batch_size: int = Field(8, ge=1, le=512, description="conversations with good replies in one step")
    method: Literal["lora", "dora", "adalora", "ia3", "prefix", "prompt", "bottleneck", "full"] = Field(
        "lora", description="what is trained: see docs/training.md"
    )
    lora_rank: int = Field(16, ge=1, le=512, description="rank of a LoRA adapter; a quarter of a bottleneck's width")
    virtual_tokens: int = Field(16, ge=1, le=1024, description="tokens that prefix and prompt tuning put in front")
    negative: Literal["auto", "off", "reward", "unlikelihood", "cringe"] = Field(
        "auto", description="what is done with bad replies; auto: reward where there are enough, see docs/training.md"
    )
    reward_strength: float = Field(
        0.1, gt=0, le=100, description="how soon a reply that moved away from the base model's counts as learned"
    )
    negative_weight: float = Field(0.5, ge=0, le=100, description="weight of that beside the likelihood of good ones")
    label_smoothing: float = Field(0, ge=0, lt=1, description="share of the likelihood spread over all tokens")
    repeat_weight: float = Field(0, ge=0, le=100, description="weight against a reply's repeating its own words")
    reply_dropout: float = Field(0, ge=0, lt=1, description="share of a reply's words hidden from those that follow")
    scheduled_sampling: float = Field(0, ge=0, le=1, description="share of a reply's words read as the model guesses")
    embedding_noise: float = Field(0, ge=0, le=1000, description="NEFTune's noise on what is read; 5 is common")
    adversarial: float = Field(0, ge=0, le=1000, description="length of the step that makes what is read worst")
    keep_weight: float = Field(
        1.0, ge=0, le=100, description="pull towards the base model on general prompts, so that nothing is forgotten"
    )
    keep_rows: int = Field(4, ge=1, le=64, description="general prompts in one step")
    wear_prompts: bool = Field(True, description="vary the wording of prompts in training, so that few teach more")
    patience: int = Field(
        8, ge=1, le=200, description="epochs worse than the best by more than chance, before a run stops"
    )
    seed: int = Field(0, ge=0, description="seed of everything random in a run")
    train_threads: int = Field(
        0, ge=0, description="most CPU threads of a run; 0: all; beside replies it takes half of the cores at most"
    )
    train_gpu_memory: float = Field(
        0, ge=0, le=1, description="most of the GPU's memory that a run may take, as a share; 0: whatever is free"
    )
    report_to: Trackers = Field([], description="who is told of a run: tensorboard, wandb, trackio; empty: nobody")


class DiskSettings(Settings):
    """How much disk the job may take, and what it deletes after each run."""

    min_free_disk: float = Field(1.0, ge=0, description="least free disk with which a run begins, in GB")
    keep_versions: int = Field(
        20, ge=1, description="newest versions whose folders are kept; what serves, served last or is pinned always is"
    )
    keep_gb: float = Field(0, ge=0, description="most that the folders of versions may take together, in GB; 0: any")
    keep_runs: int = Field(50, ge=1, description="newest runs whose datasets are kept as files; the record keeps all")


class ScheduleSettings(DiskSettings):
    """When a run starts by itself."""

    retrain_every: Interval = Field(
        timedelta(hours=6),
        description="least time between two runs that start by themselves, such as 30m, 6h or 7d; or off",
    )
    retrain_cron: Cron = Field(
        "",
        description="start runs only at these moments, local time, such as '30 3 * * *' (minute, hour, day of the "
        "month, month, day of the week); empty: whenever there is enough to learn from",
    )
    quiet_hours: Hours = Field(
        "", description="start runs only in these hours, local time, such as 22:00-06:00; empty: at any time of day"
    )
    retrain_min_ratings: int = Field(
        10, ge=1, description="least number of new thumbs and corrections to learn from before a run starts"
    )
    min_free_gpu: float = Field(
        0, ge=0, description="least free GPU memory with which a run starts by itself, in GB; 0: whatever there is"
    )

    @field_validator("quiet_hours")
    @classmethod
    def _some_moment_lies_in_them(cls, hours: str, given: ValidationInfo) -> str:
        cron = given.data.get("retrain_cron")
        if cron and not meet(cron, hours):
            raise ValueError(f"no moment of --retrain-cron {cron!r} lies in them")
        return hours
