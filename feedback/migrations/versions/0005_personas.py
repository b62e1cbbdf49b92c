"""Personas, and what a conversation was opened with: its persona, system prompt and sampling settings."""

import sqlalchemy as sa
from alembic import op

import feedback.schema

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "personas",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("owner_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("system_prompt", sa.Text(), nullable=False),
        sa.Column("sampling", sa.JSON(), nullable=False),
        sa.Column("created_at", feedback.schema.UtcTime(), nullable=False),
        sa.Column("deleted_at", feedback.schema.UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["owner_id"], ["persons.id"], name=op.f("fk_personas_owner_id_persons")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_personas")),
    )
    op.create_index(op.f("ix_personas_owner_id"), "personas", ["owner_id"])
    with op.batch_alter_table("conversations") as table:
        table.add_column(sa.Column("persona", sa.String(), nullable=False, server_default=""))
        table.add_column(sa.Column("system_prompt", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("sampling", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    with op.batch_alter_table("conversations") as table:
        for name in ("sampling", "system_prompt", "persona"):
            table.drop_column(name)
    op.drop_index(op.f("ix_personas_owner_id"), "personas")
    op.drop_table("personas")
