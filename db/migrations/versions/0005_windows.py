"""A batch is one lease row over a window of due times; what comes in masses has a lane of its own; outages are rows."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEX = "ix_sync_schedule_network_lane_next_sync_at_wallet_id"
INDEX_BEFORE = "ix_sync_schedule_network_next_sync_at"

SAFELY = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp"
ITS_TABLE_ALONE = """IF TG_RELID <> '{schema}.wallets'::regclass THEN
        RAISE EXCEPTION '%() is for the triggers of wallets alone', '{name}' USING ERRCODE = 'insufficient_privilege';
    END IF;"""

# As in 0004, but for the last statement. A few new wallets go into the usual lane and are read within seconds; an
# import goes into the lane of masses (1), however it is cut into statements: with FEW wallets of its network due in the
# usual lane, the next one goes there.
ENROL = """
CREATE OR REPLACE FUNCTION sync_schedule_enrol() RETURNS trigger {safely} SET enable_seqscan = off AS $$
DECLARE
    cap int;
    few CONSTANT int := 200;
    crowded uuid;
    added record;
BEGIN
    {its_table_alone}
    SELECT per_user INTO STRICT cap FROM wallet_limits;
    FOR crowded IN
        SELECT u FROM (SELECT DISTINCT user_id AS u FROM new_wallets) AS users
         WHERE (SELECT count(*) FROM (SELECT FROM wallets WHERE user_id = u LIMIT cap + 1) AS few) > cap / 2
         ORDER BY u
    LOOP
        PERFORM pg_advisory_xact_lock(hashtextextended(crowded::text, 0));
        IF (SELECT count(*) FROM (SELECT FROM wallets WHERE user_id = crowded LIMIT cap + 1) AS few) > cap THEN
            RAISE EXCEPTION 'user % would have more than % wallets', crowded, cap
                USING ERRCODE = 'check_violation', CONSTRAINT = 'wallets_per_user',
                      HINT = 'MAX_WALLETS_PER_USER, which alembic upgrade head takes over, is the most.';
        END IF;
    END LOOP;
    FOR added IN
        SELECT n.network, n.wallets + (SELECT count(*) FROM (
                   SELECT FROM sync_schedule s WHERE s.network = n.network AND s.lane = 0 AND s.next_sync_at <= now()
                      AND s.next_sync_at > now() - interval '1 minute'
                    ORDER BY s.next_sync_at LIMIT few) AS due) AS wallets
          FROM (SELECT network, count(*) AS wallets FROM new_wallets GROUP BY network) AS n
    LOOP
        INSERT INTO sync_schedule (wallet_id, network, address, next_sync_at, lane)
        SELECT id, network, address, now(), (added.wallets > few)::int FROM new_wallets WHERE network = added.network;
    END LOOP;
    RETURN NULL;
END $$
"""

# As before; and a batch that was lost with its worker, and waits to be tried again, has this wallet no longer.
RESTART = """
CREATE OR REPLACE FUNCTION sync_schedule_restart() RETURNS trigger {safely} AS $$
BEGIN
    {its_table_alone}
    UPDATE sync_schedule
       SET network = NEW.network, address = NEW.address, account = NULL, lane = 0, lease_until = NULL,
           next_sync_at = now(), lease_token = NULL, claimed_at = NULL, failures = 0, last_error = NULL,
           last_changed_at = NULL
     WHERE wallet_id = NEW.id;
    UPDATE leases SET wallet_ids = array_remove(wallet_ids, NEW.id)
     WHERE lease_until IS NULL AND NEW.id = ANY(wallet_ids);
    DELETE FROM balance_cache WHERE wallet_id = NEW.id;
    RETURN NULL;
END $$
"""

ENROL_BEFORE = """
CREATE OR REPLACE FUNCTION sync_schedule_enrol() RETURNS trigger {safely} SET enable_seqscan = off AS $$
DECLARE
    cap int;
    crowded uuid;
BEGIN
    {its_table_alone}
    SELECT per_user INTO STRICT cap FROM wallet_limits;
    FOR crowded IN
        SELECT u FROM (SELECT DISTINCT user_id AS u FROM new_wallets) AS users
         WHERE (SELECT count(*) FROM (SELECT FROM wallets WHERE user_id = u LIMIT cap + 1) AS few) > cap / 2
         ORDER BY u
    LOOP
        PERFORM pg_advisory_xact_lock(hashtextextended(crowded::text, 0));
        IF (SELECT count(*) FROM (SELECT FROM wallets WHERE user_id = crowded LIMIT cap + 1) AS few) > cap THEN
            RAISE EXCEPTION 'user % would have more than % wallets', crowded, cap
                USING ERRCODE = 'check_violation', CONSTRAINT = 'wallets_per_user',
                      HINT = 'MAX_WALLETS_PER_USER, which alembic upgrade head takes over, is the most.';
        END IF;
    END LOOP;
    INSERT INTO sync_schedule (wallet_id, network, address)
    SELECT id, network, address FROM new_wallets;
    RETURN NULL;
END $$
"""

RESTART_BEFORE = """
CREATE OR REPLACE FUNCTION sync_schedule_restart() RETURNS trigger {safely} AS $$
BEGIN
    {its_table_alone}
    UPDATE sync_schedule
       SET network = NEW.network, address = NEW.address, account = NULL, lease_until = NULL,
           next_sync_at = to_timestamp(0), lease_token = NULL, claimed_at = NULL, failures = 0, last_error = NULL,
           last_changed_at = NULL
     WHERE wallet_id = NEW.id;
    DELETE FROM balance_cache WHERE wallet_id = NEW.id;
    RETURN NULL;
END $$
"""


def replace_functions(enrol: str, restart: str) -> None:
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    for name, function in (("sync_schedule_enrol", enrol), ("sync_schedule_restart", restart)):
        safely, alone = SAFELY.format(schema=schema), ITS_TABLE_ALONE.format(schema=schema, name=name)
        op.execute(function.format(safely=safely, its_table_alone=alone))


def upgrade() -> None:
    # It commits before it makes its index: where it was broken off after that, all this is there when it is run again.
    moment = sa.DateTime(timezone=True)
    op.add_column(
        "sync_schedule",
        sa.Column(
            "lane", sa.SmallInteger(), server_default=sa.text("0"), nullable=False, comment="1: it came with many"
        ),
        if_not_exists=True,
    )
    op.execute("ALTER TABLE sync_schedule DROP CONSTRAINT IF EXISTS ck_sync_schedule_lane")
    op.execute("ALTER TABLE sync_schedule ADD CONSTRAINT ck_sync_schedule_lane CHECK (lane IN (0, 1)) NOT VALID")
    op.create_table(
        "leases",
        sa.Column("token", sa.Uuid(), nullable=False, comment="of a claim: its rows are the parts of its batch"),
        sa.Column("lane", sa.SmallInteger(), nullable=False, comment="whose window it is; 2: it has none"),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("first_due", moment),
        sa.Column("first_id", sa.Uuid()),
        sa.Column("last_due", moment),
        sa.Column("last_id", sa.Uuid()),
        sa.Column("claimed_at", moment, nullable=False),
        sa.Column("lease_until", moment, comment="NULL: its worker never came back, and nobody has tried it since"),
        sa.Column("deaths", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("wallet_ids", sa.ARRAY(sa.Uuid()), nullable=False),
        sa.PrimaryKeyConstraint("token", "lane", name=op.f("pk_leases")),
        sa.CheckConstraint("lane IN (0, 1, 2)", name=op.f("ck_leases_lane")),
        sa.CheckConstraint("deaths >= 0", name=op.f("ck_leases_deaths_not_negative")),
        sa.CheckConstraint("array_position(wallet_ids, NULL) IS NULL", name=op.f("ck_leases_wallets")),
        sa.CheckConstraint(
            "lane = 2 OR (first_due, first_id, last_due, last_id) IS NOT NULL"
            " AND (first_due, first_id) <= (last_due, last_id)",
            name=op.f("ck_leases_window"),
        ),
        comment="The batches in hand: who reads what, and until when.",
        if_not_exists=True,
    )
    # A window's ids are read whole when they are read at all.
    op.execute("ALTER TABLE leases ALTER COLUMN wallet_ids SET STORAGE EXTERNAL")
    op.create_table(
        "network_state",
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("out_since", moment, comment="since when no endpoint answers; NULL: one does"),
        sa.Column("reason", sa.Text(), comment="an error's code"),
        sa.Column("back_at", moment, comment="when the last outage ended"),
        sa.PrimaryKeyConstraint("network", name=op.f("pk_network_state")),
        comment="Which networks are out. A claim locks its network's row: claims come one after another.",
        if_not_exists=True,
    )
    op.execute("INSERT INTO network_state (network) VALUES ('ethereum'), ('tron') ON CONFLICT DO NOTHING")
    replace_functions(ENROL, RESTART)
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # these wait for older transactions, and nobody waits behind them
        op.execute("ALTER TABLE sync_schedule VALIDATE CONSTRAINT ck_sync_schedule_lane")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")  # an attempt that was broken off leaves one behind
        op.create_index(
            INDEX, "sync_schedule", ["network", "lane", "next_sync_at", "wallet_id"], postgresql_concurrently=True
        )
        op.drop_index(INDEX_BEFORE, "sync_schedule", postgresql_concurrently=True, if_exists=True)
        op.execute("SET lock_timeout = '1s'")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX_BEFORE}")
        op.create_index(INDEX_BEFORE, "sync_schedule", ["network", "next_sync_at"], postgresql_concurrently=True)
        op.execute("SET lock_timeout = '1s'")
    replace_functions(ENROL_BEFORE, RESTART_BEFORE)
    op.drop_table("network_state")
    op.drop_table("leases")
    op.drop_index(INDEX, "sync_schedule", if_exists=True)
    op.drop_constraint(op.f("ck_sync_schedule_lane"), "sync_schedule")
    op.drop_column("sync_schedule", "lane")
