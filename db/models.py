"""The tables. No queries here: each of the other modules has those of one thing that is asked of them.

    networks ◄── wallets ◄── sync_schedule ◄── balance_cache ◄── held_changes
       ▲  └──► sources ◄──────────│────────────────┘
       └──────────┘               └◄── watched, touches

Each row of a wallet hangs on the one before by the wallet's id and goes with it. ``balance_cache`` points to
``sync_schedule``, not to ``wallets``: a worker that writes holds the lock on the schedule row, so a wallet deleted at
the same moment can neither deadlock with it nor fail its whole batch (docs/decisions/0004-one-chain-of-rows.md).
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
    true,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

BaseUnits = Numeric(78, 0)
"""An amount in the asset's smallest unit: any uint256, exactly."""

Moment = DateTime(timezone=True)

networks = Table(
    "networks",
    metadata,
    Column("name", Text, primary_key=True),
    Column(
        "family", Text, nullable=False, comment="evm or tron: how its addresses are written and its nodes spoken to"
    ),
    Column(
        "source",
        SmallInteger,
        ForeignKey("sources.id", use_alter=True),
        comment="what a worker reads now; NULL: no worker has registered it",
    ),
    Column(
        "first_source",
        SmallInteger,
        ForeignKey("sources.id", use_alter=True),
        comment="what balances are of whose own source is NULL",
    ),
    Column("native_symbol", Text),
    Column("native_decimals", SmallInteger),
    # After a change of source all wallets are made due, some thousands at a time, along their ids: this is the last id
    # that was looked at. NULL: there is nothing to be done.
    Column("due_up_to", Uuid, comment="after a change of source: wallets up to this id are due; NULL: all"),
    Column("registered_at", Moment, nullable=False, server_default=text("now()")),
    comment="What wallets.network may be. Registered by alembic upgrade and by each start of a worker.",
)

sources = Table(
    "sources",
    metadata,
    Column("id", SmallInteger, Identity(always=True), primary_key=True),
    Column("network", Text, ForeignKey(networks.c.name, ondelete="CASCADE"), nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("token", Text, nullable=False, comment="the contract in the spelling by which two are compared"),
    Column("decimals", SmallInteger, comment="of the token, as they were found on the chain; NULL: not yet"),
    UniqueConstraint("network", "chain_id", "token"),
    CheckConstraint("chain_id > 0", name="chain_id_positive"),
    CheckConstraint("length(token) >= 1 AND length(token) <= 128", name="token_length"),
    comment="What balances may be of: a token on a chain. Blocks are compared within one.",
)

_address_length = "length(address) BETWEEN 1 AND 128"

wallets = Table(
    "wallets",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("user_id", Uuid, nullable=False),
    Column("network", Text, ForeignKey(networks.c.name), nullable=False),
    Column("address", Text, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    CheckConstraint(_address_length, name="address_length"),
    comment="Whose wallets there are. The API's own: it inserts and deletes with plain SQL.",
)
Index(
    "uq_wallets_user_id_network_address",
    wallets.c.user_id,
    wallets.c.network,
    # What begins with 0x or 0X, an address of an EVM network, means the same in any case; a Tron address does not.
    # Line breaks as Postgres gives it back, so that migrations and models can be compared.
    text("(\nCASE\n    WHEN lower(\"left\"(address, 2)) = '0x'::text THEN lower(address)\n    ELSE address\nEND)"),
    unique=True,
)

sync_schedule = Table(
    "sync_schedule",
    metadata,
    Column("wallet_id", Uuid, ForeignKey(wallets.c.id, ondelete="CASCADE"), primary_key=True),
    Column("network", Text, nullable=False),
    # A copy that nobody reads: workers of the version before do, until they are replaced.
    Column("address", Text, nullable=False),
    Column("account", LargeBinary, comment="the address as its chain knows it, once it has been checked"),
    Column("lane", SmallInteger, nullable=False, server_default=text("0"), comment="1: it came with many"),
    Column("next_sync_at", Moment, nullable=False, server_default=text("to_timestamp(0)")),
    # The same: leases are rows of their own.
    Column("lease_token", Uuid),
    Column("lease_until", Moment),
    Column("claimed_at", Moment),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    Column("last_changed_at", Moment),
    Column("requested_at", Moment),
    Column("forgotten_at", Moment, comment="what was read before may be overwritten by an older block"),
    # Network and address are checked in wallets, from where a trigger copies them.
    CheckConstraint("failures >= 0", name="failures_not_negative"),
    CheckConstraint("length(last_error) <= 64", name="last_error_length"),
    CheckConstraint("lane IN (0, 1)", name="lane"),
    # The queue: two of them for each network. With the wallet's id, so that windows of due times have an exact end.
    Index(None, "network", "lane", "next_sync_at", "wallet_id"),
    comment="When each wallet is read next. The worker's own: made with the wallet by a trigger, gone with it.",
    postgresql_with={"fillfactor": "70", "autovacuum_vacuum_scale_factor": "0.02"},
)

leases = Table(
    "leases",
    metadata,
    Column("token", Uuid, primary_key=True, comment="of a claim: its rows are the parts of its batch"),
    Column("lane", SmallInteger, primary_key=True, comment="whose window it is; 2: it has none"),
    Column("network", Text, nullable=False),
    Column("first_due", Moment),
    Column("first_id", Uuid),
    Column("last_due", Moment),
    Column("last_id", Uuid),
    Column("claimed_at", Moment, nullable=False),
    Column("lease_until", Moment, comment="NULL: its worker never came back, and nobody has tried it since"),
    Column("deaths", Integer, nullable=False, server_default=text("0")),
    Column("wallet_ids", ARRAY(Uuid), nullable=False),
    CheckConstraint("lane IN (0, 1, 2)", name="lane"),
    CheckConstraint("deaths >= 0", name="deaths_not_negative"),
    CheckConstraint("array_position(wallet_ids, NULL) IS NULL", name="wallets"),
    CheckConstraint(
        "lane = 2 OR (first_due, first_id, last_due, last_id) IS NOT NULL"
        " AND (first_due, first_id) <= (last_due, last_id)",
        name="window",
    ),
    comment="The batches in hand: who reads what, and until when.",
)

network_state = Table(
    "network_state",
    metadata,
    Column("network", Text, primary_key=True),
    Column("out_since", Moment, comment="since when no endpoint answers; NULL: one does"),
    Column("reason", Text, comment="an error's code"),
    Column("back_at", Moment, comment="when the last outage ended"),
    comment="Which networks are out. A claim locks its network's row: claims come one after another.",
)

wallet_limits = Table(
    "wallet_limits",
    metadata,
    Column("one", Boolean, primary_key=True, server_default=true(), comment="there is one row"),
    Column("per_user", Integer, nullable=False, comment="wallets that one user may have at the most"),
    CheckConstraint("one", name="one"),
    CheckConstraint("per_user > 0", name="per_user_positive"),
    comment="What the triggers of wallets hold to. Set by `alembic upgrade head` from MAX_WALLETS_PER_USER.",
)

balance_cache = Table(
    "balance_cache",
    metadata,
    Column("wallet_id", Uuid, ForeignKey(sync_schedule.c.wallet_id, ondelete="CASCADE"), primary_key=True),
    Column("usdt_balance", BaseUnits, nullable=False, comment="USDT in base units"),
    Column("native_balance", BaseUnits, nullable=False, comment="wei or sun"),
    Column("block_number", BigInteger, nullable=False, comment="the block whose state this is"),
    Column("block_time", Moment, nullable=False),
    Column("finality", Text, nullable=False, comment="latest, safe, finalized or solid"),
    Column("last_synced", Moment, nullable=False, comment="just before the read was sent"),
    Column(
        "one_block", Boolean, nullable=False, server_default=true(), comment="false: of the block or a little later"
    ),
    Column(
        "source", SmallInteger, ForeignKey(sources.c.id), comment="what it is of; NULL: the first source of its network"
    ),
    CheckConstraint("usdt_balance >= 0", name="usdt_balance_not_negative"),
    CheckConstraint("native_balance >= 0", name="native_balance_not_negative"),
    CheckConstraint("block_number > 0", name="block_number_positive"),
    CheckConstraint("finality IN ('finalized', 'latest', 'safe', 'solid')", name="finality"),
    comment="What was last read from the chain. Shared: anyone may read it, only the worker writes it.",
    # No indexed column ever changes, so with room on the page every update is HOT.
    postgresql_with={"fillfactor": "70", "autovacuum_vacuum_scale_factor": "0.02"},
)

held_changes = Table(
    "held_changes",
    metadata,
    Column("wallet_id", Uuid, ForeignKey(balance_cache.c.wallet_id, ondelete="CASCADE"), primary_key=True),
    Column("usdt_balance", BaseUnits, nullable=False, comment="USDT in base units, as it was read"),
    Column("native_balance", BaseUnits, nullable=False, comment="wei or sun, as it was read"),
    Column("block_number", BigInteger, nullable=False, comment="the block at which it was read first"),
    Column("since", Moment, nullable=False),
    Column("reads", Integer, nullable=False, comment="batches that read such a change since"),
    comment="Changes that are not believed yet, part of an unlikely share of a batch: docs/decisions/0019.",
)

change_rates = Table(
    "change_rates",
    metadata,
    Column("network", Text, primary_key=True),
    Column("wallets", BigInteger, nullable=False, comment="wallets read again, of a sample of batches"),
    Column("changed", BigInteger, nullable=False, comment="those that had another balance"),
    Column("fallen", BigInteger, nullable=False, comment="those one of whose balances fell to zero"),
    comment="What share of a network's wallets usually changes from one read to the next.",
)
