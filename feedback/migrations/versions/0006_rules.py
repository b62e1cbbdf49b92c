"""Which rule rejected which reply of a dataset, and the prompts that are held out for good."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rejected_replies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_rejected_replies_dataset_id_datasets")),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_rejected_replies_message_id_messages")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejected_replies")),
    )
    op.create_index(op.f("ix_rejected_replies_dataset_id"), "rejected_replies", ["dataset_id"])
    op.create_index(op.f("ix_rejected_replies_message_id"), "rejected_replies", ["message_id"])
    op.create_table(
        "held_out_prompts",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name=op.f("fk_held_out_prompts_conversation_id_conversations")
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_held_out_prompts")),
    )
    op.create_index(op.f("ix_held_out_prompts_conversation_id"), "held_out_prompts", ["conversation_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_held_out_prompts_conversation_id"), "held_out_prompts")
    op.drop_table("held_out_prompts")
    op.drop_index(op.f("ix_rejected_replies_message_id"), "rejected_replies")
    op.drop_index(op.f("ix_rejected_replies_dataset_id"), "rejected_replies")
    op.drop_table("rejected_replies")
