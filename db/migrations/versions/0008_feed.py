"""The feed of blocks: who is watched, which reads are owed, and up to which block the chain was followed."""

from alembic import op

from db.schema_changes import step

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = (
    """
CREATE TABLE IF NOT EXISTS watched (
    wallet_id uuid CONSTRAINT pk_watched PRIMARY KEY
              CONSTRAINT fk_watched_wallet_id_sync_schedule REFERENCES sync_schedule (wallet_id) ON DELETE CASCADE,
    network text NOT NULL,
    account bytea NOT NULL
)
""",
    "CREATE INDEX IF NOT EXISTS ix_watched_account ON watched USING hash (account)",
    """
CREATE TABLE IF NOT EXISTS touches (
    wallet_id uuid CONSTRAINT fk_touches_wallet_id_sync_schedule
              REFERENCES sync_schedule (wallet_id) ON DELETE CASCADE,
    block_number bigint,
    network text NOT NULL,
    usdt_change numeric(79, 0),
    due_at timestamptz NOT NULL,
    CONSTRAINT pk_touches PRIMARY KEY (wallet_id, block_number)
)
""",
    "CREATE INDEX IF NOT EXISTS ix_touches_network_due_at ON touches (network, due_at)",
    """
CREATE TABLE IF NOT EXISTS feed_cursor (
    network text CONSTRAINT pk_feed_cursor PRIMARY KEY,
    policy text NOT NULL DEFAULT 'cadence'
           CONSTRAINT ck_feed_cursor_policy CHECK (policy IN ('cadence', 'every_block', 'feed')),
    reason text,
    read_every double precision NOT NULL DEFAULT 0,
    stretch double precision NOT NULL DEFAULT 1,
    requests_a_day bigint,
    decided_at timestamptz,
    wallets bigint,
    counted_at timestamptz,
    source smallint,
    finality text,
    orphaned_to bigint,
    block_number bigint,
    block_hash bytea,
    block_time timestamptz,
    since bigint,
    due_below bigint,
    due_spread double precision NOT NULL DEFAULT 0,
    watched_up_to uuid,
    sees_native boolean NOT NULL DEFAULT false,
    native_unseen_at timestamptz,
    deprecated boolean NOT NULL DEFAULT false,
    blind text,
    arrival_delay double precision NOT NULL DEFAULT 0,
    block_seconds double precision NOT NULL DEFAULT 0,
    misses integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT to_timestamp(0),
    followed_at timestamptz,
    good_until timestamptz,
    lease_token uuid,
    lease_until timestamptz,
    missed_usdt bigint NOT NULL DEFAULT 0,
    missed_native bigint NOT NULL DEFAULT 0,
    jumps bigint NOT NULL DEFAULT 0,
    reorganisations bigint NOT NULL DEFAULT 0
)
""",
    """
CREATE TABLE IF NOT EXISTS feed_blocks (
    network text,
    number bigint,
    hash bytea NOT NULL,
    parent bytea NOT NULL,
    wallet_ids uuid[] NOT NULL,
    CONSTRAINT pk_feed_blocks PRIMARY KEY (network, number)
)
""",
)
COMMENTS = (
    ("TABLE watched", "Whose accounts the feed looks for in blocks. Written once for each wallet, before it is read."),
    ("TABLE touches", "Reads that are owed: of a wallet, at this block or a later one."),
    ("COLUMN touches.usdt_change", "net, in base units, as the block''s events tell; NULL: they do not tell it all"),
    ("TABLE feed_cursor", "How each network is kept fresh, and up to which block it was followed."),
    ("COLUMN feed_cursor.reason", "why by this policy, a code of worker.feed.policy"),
    ("COLUMN feed_cursor.read_every", "seconds over which reads of touched wallets are merged"),
    ("COLUMN feed_cursor.stretch", "the cadence is so many times as long, for want of requests"),
    (
        "COLUMN feed_cursor.orphaned_to",
        (
            "a reorganisation happened; a balance stored at a block up to this number may come from a block that was"
            " replaced"
        ),
    ),
    ("COLUMN feed_cursor.since", "no block is missing from this one to the cursor; NULL: nothing is covered"),
    ("COLUMN feed_cursor.due_below", "wallets with rows of older blocks are made due; NULL: all"),
    ("COLUMN feed_cursor.due_spread", "seconds over which these are made due"),
    ("COLUMN feed_cursor.watched_up_to", "wallets up to this id are watched; NULL: all"),
    ("COLUMN feed_cursor.native_unseen_at", "when a block last did not show what contracts pay"),
    ("COLUMN feed_cursor.blind", "the code of the failure for which no endpoint can be followed"),
    ("COLUMN feed_cursor.arrival_delay", "seconds from a block''s time to when nodes have it"),
    ("COLUMN feed_cursor.block_seconds", "seconds from the block before to this one"),
    ("COLUMN feed_cursor.misses", "how often in a row the next block was asked for in vain"),
    ("COLUMN feed_cursor.good_until", "until when the feed counts as up to date"),
    ("COLUMN feed_cursor.missed_usdt", "changes of USDT that were believed and that no event explained"),
    ("COLUMN feed_cursor.missed_native", "changes of the native coin in wallets that no block had touched"),
    ("TABLE feed_blocks", "The last blocks that were followed: what a reorganisation is found by."),
)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        for table in TABLES:
            step(connection, table)
        for of, comment in COMMENTS:
            step(connection, f"COMMENT ON {of} IS '{comment}'")


# Wallets wait for their sweep, for hours: without the feed they come as all others do, after a quarter of an hour.
DUE_AS_BEFORE = """
UPDATE sync_schedule SET next_sync_at = now() + random() * interval '15 minutes'
 WHERE next_sync_at > now() + interval '15 minutes' AND last_error IS DISTINCT FROM 'bad_address'
"""


def downgrade() -> None:
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        step(connection, DUE_AS_BEFORE)
        for table in ("feed_blocks", "feed_cursor", "touches", "watched"):
            step(connection, f"DROP TABLE IF EXISTS {table}")
