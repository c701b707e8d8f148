"""Leases have an end of their own beside the due time, and accounts are kept as the chains know them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

RESTART = """
CREATE OR REPLACE FUNCTION sync_schedule_restart() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE sync_schedule
       SET network = NEW.network, address = NEW.address, {more}next_sync_at = to_timestamp(0), lease_token = NULL,
           claimed_at = NULL, failures = 0, last_error = NULL, last_changed_at = NULL
     WHERE wallet_id = NEW.id;
    DELETE FROM balance_cache WHERE wallet_id = NEW.id;
    RETURN NULL;
END $$
"""

COPIED = {
    "network": "network IN ('ethereum', 'tron')",
    "address_length": "length(address) BETWEEN 1 AND 128",
}
"""What ``wallets`` checks already, and what every batch paid for twice a wallet here."""


def upgrade() -> None:
    op.add_column(
        "sync_schedule",
        sa.Column("account", sa.LargeBinary(), comment="the address as its chain knows it, once it has been checked"),
    )
    op.add_column("sync_schedule", sa.Column("lease_until", sa.DateTime(timezone=True)))
    # Until now a lease ended at next_sync_at.
    op.execute("UPDATE sync_schedule SET lease_until = next_sync_at WHERE lease_token IS NOT NULL")
    op.execute(RESTART.format(more="account = NULL, lease_until = NULL, "))
    for name in COPIED:
        op.drop_constraint(op.f(f"ck_sync_schedule_{name}"), "sync_schedule")


def downgrade() -> None:
    for name, rule in COPIED.items():
        op.create_check_constraint(op.f(f"ck_sync_schedule_{name}"), "sync_schedule", rule)
    op.execute(RESTART.format(more=""))
    op.execute("UPDATE sync_schedule SET next_sync_at = lease_until WHERE lease_token IS NOT NULL")
    op.drop_column("sync_schedule", "lease_until")
    op.drop_column("sync_schedule", "account")
