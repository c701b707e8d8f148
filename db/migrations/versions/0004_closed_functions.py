"""Nobody but the tables' own triggers runs their functions, and a user has a bounded number of wallets."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# A SECURITY DEFINER function does with its owner's rights whatever whoever runs it makes it do. So:
# - PUBLIC may not execute it, which Postgres allows by default. A trigger that is there goes on firing all the same;
#   nobody else can hang the function on a table of his own.
# - It looks whether the table is the one that it is for, should its owner grant it to somebody one day.
# - pg_temp comes last in its search path. Unless it is named there it comes first, and a temporary table of the
#   caller's would be taken for ours. The sequence is the one that PostgreSQL's documentation recommends (CREATE
#   FUNCTION, "Writing SECURITY DEFINER Functions Safely").
SAFELY = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp"
ITS_TABLE_ALONE = """IF TG_RELID <> '{schema}.wallets'::regclass THEN
        RAISE EXCEPTION '%() is for the triggers of wallets alone', '{name}' USING ERRCODE = 'insufficient_privilege';
    END IF;"""

# The cap is looked at user by user, each count by the index and no further than the cap: a sequential scan, which an
# empty table makes the planner choose for the whole session, would make an import quadratic. Transactions that insert
# for one user at the same moment do not see each other; those that bring a user near the cap wait for each other.
ENROL = """
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

RESTART = """
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

AS_BEFORE = """
CREATE OR REPLACE FUNCTION sync_schedule_enrol() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO sync_schedule (wallet_id, network, address)
    SELECT id, network, address FROM new_wallets;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION sync_schedule_restart() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE sync_schedule
       SET network = NEW.network, address = NEW.address, account = NULL, lease_until = NULL,
           next_sync_at = to_timestamp(0), lease_token = NULL, claimed_at = NULL, failures = 0, last_error = NULL,
           last_changed_at = NULL
     WHERE wallet_id = NEW.id;
    DELETE FROM balance_cache WHERE wallet_id = NEW.id;
    RETURN NULL;
END $$;
GRANT EXECUTE ON FUNCTION sync_schedule_enrol(), sync_schedule_restart() TO PUBLIC
"""


def upgrade() -> None:
    op.create_table(
        "wallet_limits",
        sa.Column("one", sa.Boolean(), server_default=sa.true(), nullable=False, comment="there is one row"),
        sa.Column("per_user", sa.Integer(), nullable=False, comment="wallets that one user may have at the most"),
        sa.CheckConstraint("one", name=op.f("ck_wallet_limits_one")),
        sa.CheckConstraint("per_user > 0", name=op.f("ck_wallet_limits_per_user_positive")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_wallet_limits")),
        comment="What the triggers of wallets hold to. Set by `alembic upgrade head` from MAX_WALLETS_PER_USER.",
    )
    op.execute("INSERT INTO wallet_limits (per_user) VALUES (10000)")
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    for name, function in (("sync_schedule_enrol", ENROL), ("sync_schedule_restart", RESTART)):
        safely, alone = SAFELY.format(schema=schema), ITS_TABLE_ALONE.format(schema=schema, name=name)
        op.execute(function.format(safely=safely, its_table_alone=alone))
        op.execute(f"REVOKE EXECUTE ON FUNCTION {name}() FROM PUBLIC")


def downgrade() -> None:
    op.execute(AS_BEFORE)
    op.drop_table("wallet_limits")
