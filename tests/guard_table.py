"""The guards that tests/guards.py switches off, one at a time."""

from collections.abc import Sequence
from typing import NamedTuple

AUTH = (
    "tests/unit/test_api_auth.py",
    "tests/unit/test_api_providers.py",
    "tests/unit/test_api_attacks.py",
    "tests/unit/test_api_token_kinds.py",
)
SNAPSHOT = ("tests/unit/test_snapshot.py",)
ROWS = ("tests/integration/test_claims.py", "tests/integration/test_any_state.py")
SOURCES = ("tests/integration/test_sources.py", "tests/integration/test_any_state.py")
LOST = ("tests/integration/test_lost_batches.py",)
RIGHTS = ("tests/integration/test_rights.py",)
CLOSED_FUNCTIONS = "db/migrations/versions/0004_closed_functions.py"
ADDRESS = "CASE WHEN w.network = %(network)s THEN w.address END"


class Guard(NamedTuple):
    """What is guarded, the text that does it, what stands there without it, and the tests that should notice."""

    name: str
    file: str
    text: str
    without: str
    tests: Sequence[str]


REQUIRED = '"require": required,'
KEPT = '"verify_exp": True, "verify_nbf": True, "verify_iat": True, "verify_iss": True,'

GUARDS = (
    Guard("signature", "api/auth.py", REQUIRED, f'{REQUIRED} "verify_signature": False, {KEPT}', AUTH),
    Guard("expiry", "api/auth.py", REQUIRED, f'{REQUIRED} "verify_exp": False,', AUTH),
    Guard("expiry of a token that is remembered", "api/auth.py", " and time() < expires:", ":", AUTH),
    Guard(
        "audience",
        "api/auth.py",
        '"verify_aud": self._settings.audience is not None',
        '"verify_aud": False',
        AUTH,
    ),
    Guard("issuer", "api/auth.py", "issuer=self._settings.jwt_issuer,", "issuer=None,", AUTH),
    Guard(
        "subject: whom a token may read",
        "api/auth.py",
        "return self.admin or self.is_user(user_id)",
        "return True",
        AUTH,
    ),
    Guard(
        "subject: that the route asks",
        "api/app.py",
        "check_may_read(caller, user_id)\n        if caller",
        "if caller",
        ("tests/integration/test_api.py",),
    ),
    Guard(
        "echo of the reader",
        "worker/reading/contract.py",
        "if echo != int.from_bytes(keccak(request)):",
        "if False:",
        SNAPSHOT,
    ),
    Guard(
        "echo of Multicall3",
        "worker/reading/multicall.py",
        "if echo is None or echo != int.from_bytes(calls[HEADERS - 1][2]):",
        "if echo is None:",
        ("tests/unit/test_multicall.py",),
    ),
    Guard(
        "id of a JSON-RPC reply",
        "worker/nodes/evm.py",
        'if reply.get("id") != self._id and reply.get("error") is None:',
        "if False:",
        ("tests/unit/test_ethereum.py",),
    ),
    Guard(
        "account of a Tron reply",
        "worker/nodes/tron.py",
        'if reply.get("address") != asked:',
        "if False:",
        ("tests/unit/test_tron.py",),
    ),
    Guard(
        "chain id",
        "worker/reading/plausibility.py",
        "if snapshot.chain_id != facts.chain_id:",
        "if False:",
        SNAPSHOT,
    ),
    Guard(
        "block guard of the upsert",
        "db/outcomes.py",
        "WHERE (b.block_number, b.last_synced) <= (EXCLUDED.block_number, EXCLUDED.last_synced)",
        "WHERE true",
        ROWS,
    ),
    Guard(
        "blocks are compared within a source",
        "db/outcomes.py",
        "OR coalesce(b.source, (SELECT first_source FROM claim)) IS DISTINCT FROM EXCLUDED.source",
        "OR false",
        SOURCES,
    ),
    Guard(
        "a row keeps what it is of",
        "db/outcomes.py",
        ",\n           source = EXCLUDED.source",
        "",
        SOURCES,
    ),
    Guard(
        "nothing is written of another source than the network's",
        "db/outcomes.py",
        " WHERE n.source IS NOT DISTINCT FROM %(source)s::smallint",
        "",
        SOURCES,
    ),
    Guard(
        "a claim knows no balance of another source", "db/claims.py", " AND {OF_SOURCE} LIMIT 1", " LIMIT 1", SOURCES
    ),
    Guard(
        "a change of source ends the leases of before",
        "db/networks.py",
        "release_all(connection, network.name)",
        "pass",
        SOURCES,
    ),
    Guard(
        "a worker that reads another source hands its claim back",
        "worker/sync/batch.py",
        "if registered is None or registered == own:",
        "if True:",
        SOURCES,
    ),
    Guard(
        "the decimals of a source are no other's",
        "db/networks.py",
        " AND source IS NOT DISTINCT FROM %(source)s::smallint",
        "",
        SOURCES,
    ),
    Guard(
        "what is held is not made due",
        "db/networks.py",
        "\n       AND NOT EXISTS (SELECT FROM {HOLDER} AS h)",
        "",
        SOURCES,
    ),
    Guard(
        "what was forgotten may be overwritten by an older block",
        "db/outcomes.py",
        "OR EXISTS (SELECT FROM forgotten f WHERE f.wallet_id = b.wallet_id AND f.forgotten_at > b.last_synced)",
        "",
        ("tests/integration/test_resync_rows.py", "tests/integration/test_any_state.py"),
    ),
    Guard(
        "only what was read before it was forgotten may be overwritten so",
        "db/outcomes.py",
        "f.wallet_id = b.wallet_id AND f.forgotten_at > b.last_synced)",
        "f.wallet_id = b.wallet_id)",
        ("tests/integration/test_resync_rows.py", "tests/integration/test_any_state.py"),
    ),
    Guard(
        "a read at a finality that is behind has not failed",
        "worker/sync/outcome.py",
        "    if keeps:\n        due =",
        "    if False:\n        due =",
        ("tests/unit/test_outcomes.py",),
    ),
    Guard(
        "block guard of the decision",
        "worker/sync/outcome.py",
        "if older(wallet, found):\n        return",
        "if False:\n        return",
        ("tests/unit/test_outcomes.py",),
    ),
    Guard(
        "token of the write",
        "db/outcomes.py",
        "WHERE token = %(token)s RETURNING claimed_at",
        "RETURNING claimed_at",
        ROWS,
    ),
    Guard(
        "a write of what was due as it was at the claim",
        "db/outcomes.py",
        "\n       AND date_part('epoch', s.next_sync_at) = o.was_due",
        "",
        ROWS,
    ),
    Guard(
        "a claim takes nothing that is in somebody's window",
        "db/due_wallets.py",
        "held AS MATERIALIZED (\n    SELECT first_due, first_id, last_due, last_id FROM leases WHERE ",
        "held AS MATERIALIZED (\n    SELECT first_due, first_id, last_due, last_id FROM leases WHERE false AND ",
        ROWS,
    ),
    Guard(
        "a claim takes nothing that was claimed by name",
        "db/due_wallets.py",
        "\n              AND wallet_id NOT IN (SELECT wallet_id FROM named)",
        "",
        ROWS,
    ),
    Guard(
        "a claim by name takes nothing that is held",
        "db/claims.py",
        "\n       AND NOT EXISTS (SELECT FROM {HOLDER} AS h)",
        "",
        ROWS,
    ),
    Guard(
        "claims by name come in turn",
        "db/claims.py",
        "state, token = lock(connection, network), uuid4()",
        "state, token = State(), uuid4()",
        ("tests/integration/test_claims.py",),
    ),
    Guard(
        "claims come in turn",
        "db/network_state.py",
        "FOR UPDATE",
        "",
        ("tests/integration/test_claims.py",),
    ),
    Guard(
        "a claim begins with the longest overdue",
        "db/due_wallets.py",
        "            ORDER BY next_sync_at, wallet_id LIMIT %(limit)s) AS f",
        "            LIMIT %(limit)s) AS f",
        ROWS,
    ),
    Guard(
        "what was lost is claimed apart",
        "db/leases.py",
        "UNION ALL SELECT wallet_ids[:middle] WHERE deaths > 0",
        "UNION ALL SELECT wallet_ids WHERE deaths > 0",
        LOST,
    ),
    Guard(
        "what has left its window is not lost",
        "db/leases.py",
        "WHERE {HOLDS} ORDER BY place",
        "ORDER BY place",
        LOST,
    ),
    Guard(
        "what somebody reads is not tried besides",
        "db/claims.py",
        "SELECT FROM leases l WHERE l.token <> %(token)s AND l.lease_until > now() AND {HOLDS}",
        "SELECT FROM leases l WHERE false",
        LOST,
    ),
    Guard(
        "the last two of a lost batch are tried at once",
        "db/leases.py",
        "CASE WHEN cardinality(piece) = 1 AND cardinality(wallet_ids) > 1 THEN 2 ELSE least(deaths, 1000) + 1 END",
        "deaths + 1",
        ("tests/integration/test_broken_batches.py",),
    ),
    Guard(
        "who gave a lost batch back writes nothing",
        "db/leases.py",
        ", token = gen_random_uuid() WHERE {which}",
        " WHERE {which}",
        ("tests/integration/test_handing_back.py",),
    ),
    Guard(
        "an outage writes no wallet",
        "worker/sync/batch.py",
        "if out or not decided:",
        "if not decided:",
        ("tests/integration/test_outage.py",),
    ),
    Guard(
        "nothing is claimed that cannot be read",
        "worker/sync/batch.py",
        "while why := reader.may_read(deadline, refresh=refresh, wallets=wallets):",
        "while why := None:",
        ("tests/integration/test_outage.py",),
    ),
    Guard(
        "masses have a share of a batch alone",
        "db/claims.py",
        "share = int(limit / SHARE_OF_MASSES + random())",
        "share = limit",
        ("tests/integration/test_lanes.py",),
    ),
    Guard(
        "a claim takes the address from the wallet itself",
        "db/claims.py",
        ADDRESS,
        "(SELECT s.address FROM sync_schedule s WHERE s.wallet_id = f.wallet_id)",
        RIGHTS,
    ),
    Guard("a claim takes no address of another network", "db/claims.py", ADDRESS, "w.address", RIGHTS),
    Guard(
        "closed functions: that not everybody runs them",
        CLOSED_FUNCTIONS,
        'op.execute(f"REVOKE EXECUTE ON FUNCTION {name}() FROM PUBLIC")',
        "pass",
        RIGHTS,
    ),
    Guard(
        "closed functions: that they are for one table",
        CLOSED_FUNCTIONS,
        "IF TG_RELID <> '{schema}.wallets'::regclass THEN",
        "IF false THEN",
        RIGHTS,
    ),
    Guard(
        "closed functions: that temporary tables come last",
        CLOSED_FUNCTIONS,
        "SET search_path = pg_catalog, {schema}, pg_temp",
        "SET search_path = pg_catalog, {schema}",
        RIGHTS,
    ),
    Guard(
        "zero confirmation",
        "worker/sync/verify.py",
        "return wallet.usdt != 0 and balance.usdt == 0, wallet.native != 0 and balance.native == 0",
        "return False, False",
        ("tests/unit/test_second_reads.py",),
    ),
    Guard(
        "an unlikely share waits for a second word",
        "worker/sync/verify.py",
        "if len(changed) <= NEVER_UNLIKELY:",
        "if True:",
        ("tests/unit/test_verify.py",),
    ),
    Guard(
        "an endpoint is no second word for itself",
        "worker/sync/verify.py",
        "if not unlikely or first.endpoint != second.endpoint else",
        "if True else",
        ("tests/unit/test_verify.py",),
    ),
    Guard(
        "supply bound",
        "worker/reading/attempt.py",
        "if most > supply:\n            raise",
        "if False:\n            raise",
        ("tests/unit/test_belief.py",),
    ),
    Guard(
        "redaction of what nodes say",
        "worker/wording.py",
        'short = short.replace(secret, "…")',
        "pass",
        ("tests/unit/test_strangers_words.py", "tests/unit/test_ethereum.py", "tests/unit/test_tron.py"),
    ),
    Guard(
        "redaction of what libraries log",
        "config/logging.py",
        'for name in ("urllib3", "web3", "requests"):',
        "for name in ():",
        ("tests/unit/test_logging_edges.py",),
    ),
    Guard(
        "the last net: no secret in any log line",
        "config/logging.py",
        "*last, masked],",
        "*last],",
        ("tests/unit/test_redaction.py",),
    ),
    Guard(
        "no parameters of statements in errors",
        "db/session.py",
        "hide_parameters=True,",
        "hide_parameters=False,",
        ("tests/integration/test_database_failover.py",),
    ),
    Guard(
        "a connection that takes no writes is given up",
        "db/session.py",
        "context.is_disconnect = True",
        "pass",
        ("tests/integration/test_database_failover.py",),
    ),
    Guard(
        "libpq's own words, which quote values, are not shown",
        "config/connections.py",
        "raise ValueError(_told(said))",
        "raise ValueError(said)",
        ("tests/unit/test_environment_urls.py",),
    ),
    Guard(
        "what an operator sets for a session holds",
        "config/connections.py",
        " if name not in named]",
        "]",
        ("tests/unit/test_environment_urls.py",),
    ),
    Guard(
        "a pooler that leaves settings out in silence is noticed",
        "db/sessions.py",
        "return bool(row[0])",
        "return True",
        ("tests/integration/test_poolers.py",),
    ),
    Guard(
        "a role that is denied makes nobody an admin",
        "config/claims.py",
        "if isinstance(granted, Mapping) and granted",
        "if True",
        ("tests/unit/test_claims.py",),
    ),
    Guard(
        "rediss:// checks certificates",
        "config/redis_address.py",
        'found.get("ssl_cert_reqs", "required").lower()',
        'found.get("ssl_cert_reqs", "none").lower()',
        ("tests/integration/test_redis_urls.py",),
    ),
    Guard(
        "a replica's refusal ends a connection to Redis",
        "worker/queues/redis_transport.py",
        "if not of_the_server(error):",
        "if True:",
        ("tests/integration/test_failover.py",),
    ),
    Guard(
        "what could not be acknowledged is in hand no longer",
        "worker/queues/redis_transport.py",
        "virtual.QoS.ack(self, delivery_tag)",
        "pass",
        ("tests/integration/test_transport.py",),
    ),
    Guard(
        "budget: that each request waits for it",
        "worker/reading/sending.py",
        "self.request.budget.wait(self.node.id, latest, refresh=self.request.refresh)",
        "pass",
        ("tests/unit/test_trials.py",),
    ),
    Guard(
        "budget: over all processes together",
        "worker/reading/budget.py",
        "found = self._shared(node, wanted, [slot.number for slot in mine], refresh=refresh)",
        "found = None",
        ("tests/unit/test_budget.py",),
    ),
    Guard(
        "an endpoint is a bulkhead",
        "worker/reading/attempt.py",
        "except Exception as error:  # noqa: BLE001",
        "except ReadFailed as error:",
        ("tests/unit/test_trials.py",),
    ),
    Guard(
        "who asks an endpoint that rests: one read at a time",
        "worker/reading/trial_lock.py",
        "self.wait = self.lock.acquire(self.seconds, self.longest)",
        "self.wait = 0.0",
        ("tests/unit/test_trials.py", "tests/unit/test_endpoints.py"),
    ),
)
