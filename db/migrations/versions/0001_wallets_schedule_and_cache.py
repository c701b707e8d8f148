"""Wallets, their schedule, and the cache of their balances."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The triggers run as the tables' owner: who may write to wallets needs no rights on the other two tables.

# A new wallet is due since the epoch, so it goes before every wallet that was ever read. One statement per INSERT,
# however many rows it brings: the cost of a wallet does not grow with the table.
ENROL = """
CREATE FUNCTION sync_schedule_enrol() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO sync_schedule (wallet_id, network, address)
    SELECT id, network, address FROM new_wallets;
    RETURN NULL;
END $$;
CREATE TRIGGER wallets_enrol AFTER INSERT ON wallets
    REFERENCING NEW TABLE AS new_wallets
    FOR EACH STATEMENT EXECUTE FUNCTION sync_schedule_enrol();
"""

# Another address is another wallet: what was read for the old one must not be shown for it. The schedule row comes
# first: its lock waits for a worker that is writing, and taking its lease away keeps one that is still reading from
# writing.
RESTART = """
CREATE FUNCTION sync_schedule_restart() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE sync_schedule
       SET network = NEW.network, address = NEW.address, next_sync_at = to_timestamp(0), lease_token = NULL,
           claimed_at = NULL, failures = 0, last_error = NULL, last_changed_at = NULL
     WHERE wallet_id = NEW.id;
    DELETE FROM balance_cache WHERE wallet_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER wallets_restart AFTER UPDATE OF network, address ON wallets
    FOR EACH ROW WHEN ((OLD.network, OLD.address) IS DISTINCT FROM (NEW.network, NEW.address))
    EXECUTE FUNCTION sync_schedule_restart();
"""


def upgrade() -> None:
    make_wallets()
    make_sync_schedule()
    make_balance_cache()
    op.execute(ENROL)
    op.execute(RESTART)


def make_wallets() -> None:
    op.create_table(
        "wallets",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("network IN ('ethereum', 'tron')", name=op.f("ck_wallets_network")),
        sa.CheckConstraint("length(address) BETWEEN 1 AND 128", name=op.f("ck_wallets_address_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wallets")),
        comment="Whose wallets there are. The API's own: it inserts and deletes with plain SQL.",
    )
    op.create_index(
        "uq_wallets_user_id_network_address",
        "wallets",
        ["user_id", "network", sa.text("(CASE WHEN network = 'ethereum' THEN lower(address) ELSE address END)")],
        unique=True,
    )


def make_sync_schedule() -> None:
    op.create_table(
        "sync_schedule",
        sa.Column("wallet_id", sa.Uuid(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column(
            "next_sync_at", sa.DateTime(timezone=True), server_default=sa.text("to_timestamp(0)"), nullable=False
        ),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_changed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("network IN ('ethereum', 'tron')", name=op.f("ck_sync_schedule_network")),
        sa.CheckConstraint("length(address) BETWEEN 1 AND 128", name=op.f("ck_sync_schedule_address_length")),
        sa.CheckConstraint("failures >= 0", name=op.f("ck_sync_schedule_failures_not_negative")),
        sa.CheckConstraint("length(last_error) <= 64", name=op.f("ck_sync_schedule_last_error_length")),
        sa.ForeignKeyConstraint(
            ["wallet_id"], ["wallets.id"], name=op.f("fk_sync_schedule_wallet_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("wallet_id", name=op.f("pk_sync_schedule")),
        comment="When each wallet is read next. The worker's own: made with the wallet by a trigger, gone with it.",
        postgresql_with={"fillfactor": "70", "autovacuum_vacuum_scale_factor": "0.02"},
    )
    op.create_index(op.f("ix_sync_schedule_network_next_sync_at"), "sync_schedule", ["network", "next_sync_at"])


def make_balance_cache() -> None:
    op.create_table(
        "balance_cache",
        sa.Column("wallet_id", sa.Uuid(), nullable=False),
        sa.Column("usdt_balance", sa.Numeric(78, 0), nullable=False, comment="USDT in base units"),
        sa.Column("native_balance", sa.Numeric(78, 0), nullable=False, comment="wei or sun"),
        sa.Column("block_number", sa.BigInteger(), nullable=False, comment="the block whose state this is"),
        sa.Column("block_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finality", sa.Text(), nullable=False, comment="latest, safe, finalized or solid"),
        sa.Column("last_synced", sa.DateTime(timezone=True), nullable=False, comment="just before the read was sent"),
        sa.CheckConstraint("usdt_balance >= 0", name=op.f("ck_balance_cache_usdt_balance_not_negative")),
        sa.CheckConstraint("native_balance >= 0", name=op.f("ck_balance_cache_native_balance_not_negative")),
        sa.CheckConstraint("block_number > 0", name=op.f("ck_balance_cache_block_number_positive")),
        sa.CheckConstraint(
            "finality IN ('finalized', 'latest', 'safe', 'solid')", name=op.f("ck_balance_cache_finality")
        ),
        sa.ForeignKeyConstraint(
            ["wallet_id"], ["sync_schedule.wallet_id"], name=op.f("fk_balance_cache_wallet_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("wallet_id", name=op.f("pk_balance_cache")),
        comment="What was last read from the chain. Shared: anyone may read it, only the worker writes it.",
        postgresql_with={"fillfactor": "70", "autovacuum_vacuum_scale_factor": "0.02"},
    )


def downgrade() -> None:
    op.drop_table("balance_cache")
    op.drop_table("sync_schedule")
    op.drop_table("wallets")
    op.execute("DROP FUNCTION sync_schedule_enrol(), sync_schedule_restart()")
