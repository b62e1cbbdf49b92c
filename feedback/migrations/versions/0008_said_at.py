"""When a file tells that something was said; what was taken in before keeps the time that it had."""

import sqlalchemy as sa
from alembic import op

import feedback.schema

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TABLES = {  # what a file can tell, and the reply that it is of
    "ratings": "message_id",
    "corrections": "message_id",
    "reviews": "message_id",
    "comparisons": "left_id",
    "preferences": "chosen_id",
}


def upgrade() -> None:
    for table, reply in _TABLES.items():
        op.add_column(table, sa.Column("said_at", feedback.schema.UtcTime(), nullable=True))
        op.execute(
            f"UPDATE {table} SET said_at = created_at WHERE {reply} IN (SELECT messages.id FROM messages "
            "JOIN conversations ON conversations.id = messages.conversation_id WHERE conversations.source = 'import')"
        )


def downgrade() -> None:
    for table in _TABLES:
        op.drop_column(table, "said_at")
