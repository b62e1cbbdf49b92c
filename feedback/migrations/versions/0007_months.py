"""What a job needs that runs for months: a run's diary and curves, pins, trials, what a reviewer was asked."""

import sqlalchemy as sa
from alembic import op

import feedback.schema

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "run_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", feedback.schema.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_events_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_events")),
    )
    op.create_index(op.f("ix_run_events_run_id"), "run_events", ["run_id"])
    op.create_table(
        "run_points",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("created_at", feedback.schema.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_points_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_points")),
        sa.UniqueConstraint("run_id", "name", "step", name=op.f("uq_run_points_run_id")),
    )
    op.create_table(
        "asked_replies",
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("created_at", feedback.schema.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_asked_replies_message_id_messages")),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_asked_replies")),
    )
    op.create_table(
        "pins",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.String(), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("created_at", feedback.schema.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["persons.id"], name=op.f("fk_pins_person_id_persons")),
        sa.ForeignKeyConstraint(["version"], ["model_versions.number"], name=op.f("fk_pins_version_model_versions")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pins")),
    )
    op.create_index(op.f("ix_pins_version"), "pins", ["version"])
    op.create_table(
        "trials",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("promotion_id", sa.Integer(), nullable=False),
        sa.Column("candidate", sa.Integer(), nullable=False),
        sa.Column("against", sa.Integer(), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("rule", sa.JSON(), nullable=False),
        sa.Column("person_id", sa.String(), nullable=False),
        sa.Column("created_at", feedback.schema.UtcTime(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("ended_at", feedback.schema.UtcTime(), nullable=True),
        *[
            sa.ForeignKeyConstraint(
                [column], ["model_versions.number"], name=op.f(f"fk_trials_{column}_model_versions")
            )
            for column in ("candidate", "against")
        ],
        sa.ForeignKeyConstraint(["person_id"], ["persons.id"], name=op.f("fk_trials_person_id_persons")),
        sa.ForeignKeyConstraint(["promotion_id"], ["promotions.id"], name=op.f("fk_trials_promotion_id_promotions")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trials")),
    )
    for column in ("outcome", "promotion_id"):
        op.create_index(op.f(f"ix_trials_{column}"), "trials", [column])
    op.add_column("model_versions", sa.Column("pruned_at", feedback.schema.UtcTime(), nullable=True))
    op.add_column("runs", sa.Column("attempts", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("runs", sa.Column("cancel_asked_by", sa.String(), nullable=True))
    for column in ("conversation_id", "persona"):
        op.add_column("ratings", sa.Column(column, sa.String(), nullable=False, server_default=""))
    op.add_column("ratings", sa.Column("version", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE ratings SET version = (SELECT version FROM replies WHERE replies.message_id = ratings.message_id), "
        "conversation_id = (SELECT conversation_id FROM messages WHERE messages.id = ratings.message_id)"
    )
    op.execute(
        "UPDATE ratings SET persona = (SELECT persona FROM conversations WHERE conversations.id = conversation_id)"
    )
    for column in ("status", "created_at"):
        op.create_index(op.f(f"ix_messages_role_{column}"), "messages", ["role", column])
    op.create_index(op.f("ix_messages_finish"), "messages", ["finish"])
    op.create_index(op.f("ix_replies_version_heartbeat_at"), "replies", ["version", "heartbeat_at"])
    op.drop_index(op.f("ix_replies_version"), "replies")


def downgrade() -> None:
    op.create_index(op.f("ix_replies_version"), "replies", ["version"])
    op.drop_index(op.f("ix_replies_version_heartbeat_at"), "replies")
    op.drop_index(op.f("ix_messages_finish"), "messages")
    for column in ("created_at", "status"):
        op.drop_index(op.f(f"ix_messages_role_{column}"), "messages")
    for column in ("version", "persona", "conversation_id"):
        op.drop_column("ratings", column)
    op.drop_column("runs", "cancel_asked_by")
    op.drop_column("runs", "attempts")
    op.drop_column("model_versions", "pruned_at")
    for table in ("trials", "pins", "asked_replies", "run_points", "run_events"):
        op.drop_table(table)
