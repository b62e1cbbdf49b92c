"""Comparisons: two replies to one message, side by side, and which was better."""

import sqlalchemy as sa
from alembic import op

import feedback.schema

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "comparisons",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("left_id", sa.String(), nullable=False),
        sa.Column("right_id", sa.String(), nullable=False),
        sa.Column("person_id", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("created_at", feedback.schema.UtcTime(), nullable=False),
        sa.Column("judged_at", feedback.schema.UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["left_id"], ["messages.id"], name=op.f("fk_comparisons_left_id_messages")),
        sa.ForeignKeyConstraint(["right_id"], ["messages.id"], name=op.f("fk_comparisons_right_id_messages")),
        sa.ForeignKeyConstraint(["person_id"], ["persons.id"], name=op.f("fk_comparisons_person_id_persons")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparisons")),
    )
    op.create_index(op.f("ix_comparisons_left_id"), "comparisons", ["left_id"])
    op.create_index(op.f("ix_comparisons_right_id"), "comparisons", ["right_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_comparisons_right_id"), "comparisons")
    op.drop_index(op.f("ix_comparisons_left_id"), "comparisons")
    op.drop_table("comparisons")
