"""Reviews: what a reviewer said of a reply."""

import sqlalchemy as sa
from alembic import op

import feedback.schema

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("reviewer_id", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=True),
        sa.Column("created_at", feedback.schema.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_reviews_message_id_messages")),
        sa.ForeignKeyConstraint(["reviewer_id"], ["persons.id"], name=op.f("fk_reviews_reviewer_id_persons")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index(op.f("ix_reviews_message_id"), "reviews", ["message_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_reviews_message_id"), "reviews")
    op.drop_table("reviews")
