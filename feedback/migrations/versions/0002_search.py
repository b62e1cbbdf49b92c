"""An index over what was said, for SQLite: parts of three letters, so that Chinese is found too.

The index keeps its own copy of the texts: row numbers of a table without an integer key may change.
A reply enters it when it is whole, not with every heartbeat.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_WHEN_WRITTEN = "INSERT INTO message_search (content, message_id) VALUES (new.content, new.id);"


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    op.execute("CREATE VIRTUAL TABLE message_search USING fts5(content, message_id UNINDEXED, tokenize='trigram')")
    op.execute("INSERT INTO message_search (content, message_id) SELECT content, id FROM messages WHERE status != 'running'")
    op.execute(
        "CREATE TRIGGER message_search_new AFTER INSERT ON messages WHEN new.status != 'running' "
        f"BEGIN {_WHEN_WRITTEN} END"
    )
    op.execute(
        "CREATE TRIGGER message_search_ended AFTER UPDATE OF status ON messages "
        "WHEN old.status = 'running' AND new.status != 'running' "
        f"BEGIN {_WHEN_WRITTEN} END"
    )
    op.execute(
        "CREATE TRIGGER message_search_changed AFTER UPDATE OF content ON messages "
        "WHEN old.status != 'running' AND old.content != new.content "
        f"BEGIN DELETE FROM message_search WHERE message_id = old.id; {_WHEN_WRITTEN} END"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name in ("new", "ended", "changed"):
            op.execute(f"DROP TRIGGER message_search_{name}")
        op.execute("DROP TABLE message_search")
