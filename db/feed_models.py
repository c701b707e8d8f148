"""The tables of the feed of blocks, beside those of ``db.models``. No queries here."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Table,
    Text,
    Uuid,
    false,
    text,
)

from db.models import Moment, metadata, sync_schedule

__all__ = ["feed_blocks", "feed_cursor", "metadata", "touches", "watched"]

watched = Table(
    "watched",
    metadata,
    Column("wallet_id", Uuid, ForeignKey(sync_schedule.c.wallet_id, ondelete="CASCADE"), primary_key=True),
    Column("network", Text, nullable=False),
    Column("account", LargeBinary, nullable=False),
    # Several users may have one address, so it is not unique; an index on sync_schedule would cost each read an entry.
    Index(None, "account", postgresql_using="hash"),
    comment="Whose accounts the feed looks for in blocks. Written once for each wallet, before it is read.",
)

touches = Table(
    "touches",
    metadata,
    Column("wallet_id", Uuid, ForeignKey(sync_schedule.c.wallet_id, ondelete="CASCADE"), primary_key=True),
    Column("block_number", BigInteger, primary_key=True),
    Column("network", Text, nullable=False),
    Column(
        "usdt_change",
        Numeric(79, 0),
        comment="net, in base units, as the block's events tell; NULL: they do not tell it all",
    ),
    Column("due_at", Moment, nullable=False),
    Index(None, "network", "due_at"),
    comment="Reads that are owed: of a wallet, at this block or a later one.",
)

feed_cursor = Table(
    "feed_cursor",
    metadata,
    Column("network", Text, primary_key=True),
    Column("policy", Text, nullable=False, server_default=text("'cadence'")),
    Column("reason", Text, comment="why by this policy, a code of worker.feed.policy"),
    Column(
        "read_every",
        Double,
        nullable=False,
        server_default=text("0"),
        comment="seconds over which reads of touched wallets are merged",
    ),
    Column(
        "stretch",
        Double,
        nullable=False,
        server_default=text("1"),
        comment="the cadence is so many times as long, for want of requests",
    ),
    Column("requests_a_day", BigInteger),
    Column("decided_at", Moment),
    Column("wallets", BigInteger),
    Column("counted_at", Moment),
    Column("source", SmallInteger),
    Column("finality", Text),
    Column(
        "orphaned_to",
        BigInteger,
        comment="a reorganisation happened; a balance stored at a block up to this number may come from a block that"
        " was replaced",
    ),
    Column("block_number", BigInteger),
    Column("block_hash", LargeBinary),
    Column("block_time", Moment),
    Column("since", BigInteger, comment="no block is missing from this one to the cursor; NULL: nothing is covered"),
    Column("due_below", BigInteger, comment="wallets with rows of older blocks are made due; NULL: all"),
    Column(
        "due_spread",
        Double,
        nullable=False,
        server_default=text("0"),
        comment="seconds over which these are made due",
    ),
    Column("watched_up_to", Uuid, comment="wallets up to this id are watched; NULL: all"),
    Column("sees_native", Boolean, nullable=False, server_default=false()),
    Column("native_unseen_at", Moment, comment="when a block last did not show what contracts pay"),
    Column("deprecated", Boolean, nullable=False, server_default=false()),
    Column("blind", Text, comment="the code of the failure for which no endpoint can be followed"),
    Column(
        "arrival_delay",
        Double,
        nullable=False,
        server_default=text("0"),
        comment="seconds from a block's time to when nodes have it",
    ),
    Column(
        "block_seconds",
        Double,
        nullable=False,
        server_default=text("0"),
        comment="seconds from the block before to this one",
    ),
    Column(
        "misses",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="how often in a row the next block was asked for in vain",
    ),
    Column("next_at", Moment, nullable=False, server_default=text("to_timestamp(0)")),
    Column("followed_at", Moment),
    Column("good_until", Moment, comment="until when the feed counts as up to date"),
    Column("lease_token", Uuid),
    Column("lease_until", Moment),
    Column(
        "missed_usdt",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="changes of USDT that were believed and that no event explained",
    ),
    Column(
        "missed_native",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="changes of the native coin in wallets that no block had touched",
    ),
    Column("jumps", BigInteger, nullable=False, server_default=text("0")),
    Column("reorganisations", BigInteger, nullable=False, server_default=text("0")),
    CheckConstraint("policy IN ('cadence', 'every_block', 'feed')", name="policy"),
    comment="How each network is kept fresh, and up to which block it was followed.",
)

feed_blocks = Table(
    "feed_blocks",
    metadata,
    Column("network", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
    Column("parent", LargeBinary, nullable=False),
    Column("wallet_ids", ARRAY(Uuid), nullable=False),
    comment="The last blocks that were followed: what a reorganisation is found by.",
)
