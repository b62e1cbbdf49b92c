"""When a conversation was erased; the search index then drops its messages by one statement.

The trigger goes through the whole index for each message that changes: it leaves erased ones to that statement.
"""

import sqlalchemy as sa
from alembic import op

import feedback.schema

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_CHANGED = (
    "CREATE TRIGGER message_search_changed AFTER UPDATE OF content ON messages "
    "WHEN old.status != 'running' AND old.content != new.content{unless} "
    "BEGIN DELETE FROM message_search WHERE message_id = old.id; "
    "INSERT INTO message_search (content, message_id) VALUES (new.content, new.id); END"
)
_ERASED = (
    " AND NOT EXISTS (SELECT 1 FROM conversations WHERE conversations.id = new.conversation_id "
    "AND conversations.erased_at IS NOT NULL)"
)


def upgrade() -> None:
    op.add_column("conversations", sa.Column("erased_at", feedback.schema.UtcTime(), nullable=True))
    _set_trigger(_ERASED)


def downgrade() -> None:
    _set_trigger("")
    op.drop_column("conversations", "erased_at")


def _set_trigger(unless: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER message_search_changed")
        op.execute(_CHANGED.format(unless=unless))
