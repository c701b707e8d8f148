"""Networks are rows, each balance says what it is of, and a wallet is there once however its address is spelt."""

from alembic import op
from alembic.util import CommandError

from db.schema_changes import add_constraint, long_step, replace_unique_index, step

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NETWORKS = """
CREATE TABLE IF NOT EXISTS networks (
    name text CONSTRAINT pk_networks PRIMARY KEY,
    family text NOT NULL,
    source smallint,
    first_source smallint,
    native_symbol text,
    native_decimals smallint,
    due_up_to uuid,
    registered_at timestamptz NOT NULL DEFAULT now()
)
"""
SOURCES = """
CREATE TABLE IF NOT EXISTS sources (
    id smallint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_sources PRIMARY KEY,
    network text NOT NULL CONSTRAINT fk_sources_network REFERENCES networks (name) ON DELETE CASCADE,
    chain_id bigint NOT NULL CONSTRAINT ck_sources_chain_id_positive CHECK (chain_id > 0),
    token text NOT NULL CONSTRAINT ck_sources_token_length CHECK (length(token) BETWEEN 1 AND 128),
    decimals smallint,
    CONSTRAINT uq_sources_network_chain_id_token UNIQUE (network, chain_id, token)
)
"""
COMMENTS = (
    ("TABLE networks", "What wallets.network may be. Registered by alembic upgrade and by each start of a worker."),
    ("COLUMN networks.family", "evm or tron: how its addresses are written and its nodes spoken to"),
    ("COLUMN networks.source", "what a worker reads now; NULL: no worker has registered it"),
    ("COLUMN networks.first_source", "what balances are of whose own source is NULL"),
    ("COLUMN networks.due_up_to", "after a change of source: wallets up to this id are due; NULL: all"),
    ("TABLE sources", "What balances may be of: a token on a chain. Blocks are compared within one."),
    ("COLUMN sources.token", "the contract in the spelling by which two are compared"),
    ("COLUMN sources.decimals", "of the token, as they were found on the chain; NULL: not yet"),
    ("COLUMN balance_cache.source", "what it is of; NULL: the first source of its network"),
    ("COLUMN sync_schedule.forgotten_at", "what was read before may be overwritten by an older block"),
)

# 0x and 0X begin an address whose digits mean the same in any case; a Tron address has one spelling.
ANY_SPELLING = "user_id, network, (CASE WHEN lower(left(address, 2)) = '0x' THEN lower(address) ELSE address END)"
BEFORE = "user_id, network, (CASE WHEN network = 'ethereum' THEN lower(address) ELSE address END)"
UNIQUE = "uq_wallets_user_id_network_address"
TWICE = (
    "wallets has an address twice for one user and network, in two spellings. Nothing is lost, and what this migration"
    " has done so far does no harm: delete one of the two wallets, and run alembic again."
)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        step(connection, NETWORKS)
        step(connection, SOURCES)
        for name in ("source", "first_source"):
            add_constraint(connection, "networks", f"fk_networks_{name}", f"FOREIGN KEY ({name}) REFERENCES sources")
        step(
            connection,
            "INSERT INTO networks (name, family) VALUES ('ethereum', 'evm'), ('tron', 'tron') ON CONFLICT DO NOTHING",
        )
        # Neither rewrites a row: a balance without a source is of its network's first.
        step(connection, "ALTER TABLE balance_cache ADD COLUMN IF NOT EXISTS source smallint")
        step(connection, "ALTER TABLE sync_schedule ADD COLUMN IF NOT EXISTS forgotten_at timestamptz")
        add_constraint(
            connection, "balance_cache", "fk_balance_cache_source", "FOREIGN KEY (source) REFERENCES sources"
        )
        add_constraint(connection, "wallets", "fk_wallets_network", "FOREIGN KEY (network) REFERENCES networks (name)")
        step(connection, "ALTER TABLE wallets DROP CONSTRAINT IF EXISTS ck_wallets_network")
        for of, comment in COMMENTS:
            step(connection, f"COMMENT ON {of} IS '{comment}'")
        replace_unique_index(connection, "wallets", UNIQUE, ANY_SPELLING, twice=TWICE)


# The version before would show them as if they were of today's source: better unread than wrong.
DELETE_OTHERS = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'balance_cache'::regclass AND attname = 'source') THEN
        DELETE FROM balance_cache AS b USING wallets AS w JOIN networks AS n ON n.name = w.network
         WHERE w.id = b.wallet_id AND coalesce(b.source, n.first_source) IS DISTINCT FROM n.source;
    END IF;
END $$
"""


def downgrade() -> None:
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        others = "SELECT DISTINCT network FROM wallets WHERE network NOT IN ('ethereum', 'tron')"
        if found := connection.exec_driver_sql(others).scalars().all():
            raise CommandError(f"the version before knows ethereum and tron alone: delete the wallets of {found} first")
        replace_unique_index(connection, "wallets", UNIQUE, BEFORE, twice=TWICE)
        add_constraint(connection, "wallets", "ck_wallets_network", "CHECK (network IN ('ethereum', 'tron'))")
        step(connection, "ALTER TABLE wallets DROP CONSTRAINT IF EXISTS fk_wallets_network")
        long_step(connection, DELETE_OTHERS)
        step(connection, "ALTER TABLE balance_cache DROP COLUMN IF EXISTS source")
        step(connection, "ALTER TABLE sync_schedule DROP COLUMN IF EXISTS forgotten_at")
        for name in ("source", "first_source"):
            step(connection, f"ALTER TABLE IF EXISTS networks DROP COLUMN IF EXISTS {name}")
        step(connection, "DROP TABLE IF EXISTS sources")
        step(connection, "DROP TABLE IF EXISTS networks")
