"""Changes that one endpoint alone tells of an unlikely share of wallets are held back; what is likely is counted."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "held_changes",
        sa.Column("wallet_id", sa.Uuid(), nullable=False),
        sa.Column("usdt_balance", sa.Numeric(78, 0), nullable=False, comment="USDT in base units, as it was read"),
        sa.Column("native_balance", sa.Numeric(78, 0), nullable=False, comment="wei or sun, as it was read"),
        sa.Column("block_number", sa.BigInteger(), nullable=False, comment="the block at which it was read first"),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reads", sa.Integer(), nullable=False, comment="batches that read such a change since"),
        sa.ForeignKeyConstraint(
            ["wallet_id"],
            ["balance_cache.wallet_id"],
            name=op.f("fk_held_changes_wallet_id_balance_cache"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("wallet_id", name=op.f("pk_held_changes")),
        comment="Changes that are not believed yet, part of an unlikely share of a batch: docs/decisions/0019.",
    )
    op.create_table(
        "change_rates",
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("wallets", sa.BigInteger(), nullable=False, comment="wallets read again, of a sample of batches"),
        sa.Column("changed", sa.BigInteger(), nullable=False, comment="those that had another balance"),
        sa.Column("fallen", sa.BigInteger(), nullable=False, comment="those one of whose balances fell to zero"),
        sa.PrimaryKeyConstraint("network", name=op.f("pk_change_rates")),
        comment="What share of a network's wallets usually changes from one read to the next.",
    )


def downgrade() -> None:
    op.drop_table("change_rates")
    op.drop_table("held_changes")
