"""Say of each balance whether it is known to be of exactly its block."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What there is was read at one block. A constant default rewrites nothing.
    op.add_column(
        "balance_cache",
        sa.Column(
            "one_block",
            sa.Boolean(),
            server_default=sa.true(),
            nullable=False,
            comment="false: of the block or a little later",
        ),
    )


def downgrade() -> None:
    op.drop_column("balance_cache", "one_block")
