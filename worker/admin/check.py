"""Is everything that the settings name really so? The database, Redis, each endpoint, the endpoint's tokens. I/O.

Nodes are asked what a worker asks them, in the way in which it would: a node that answers a cheaper question may still
not be able to read a balance.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_bytes
from time import monotonic, time
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from config.addresses import BadAddress
from config.base_settings import unknown_networks
from config.keys import NOT_FETCHED, Provider, public_keys, usable
from config.networks import NetworkName
from config.settings import (
    NETWORKS,
    ApiSettings,
    WorkerSettings,
    api_settings,
    problems,
)
from config.values import LOOPBACK
from db import SCHEMA_VERSION
from db.reasons import reason
from db.rights import WORKER, is_superuser, missing, runs_as_superuser
from db.session import applied_schema, clock, transaction
from worker.admin import check_connections
from worker.errors import ReadFailed, Throttled, Unauthorized
from worker.reading import nodes_for
from worker.reading.contract import ACCOUNT_BYTES, CLOCK_TOLERANCE, FUTURE_TOLERANCE, Snapshot
from worker.reading.facts import facts_of
from worker.reading.reader import READ_REQUESTS, NodeReader
from worker.reading.shared import Shared
from worker.reading.strategies import Node

REDIS_TIMEOUT = 3.0  # seconds

TO_DO = {
    "unreachable": "correct {net}_RPC_URLS, or see why this machine cannot reach it",
    "unavailable": "it is out of order: try again later, see whether {net}_RPC_URLS has its whole path, or use another",
    "throttled": "lower {net}_RPS, take another plan, or add an endpoint to {net}_RPC_URLS",
    "unauthorized": "correct the key: in {net}_RPC_URLS, or TRON_API_KEYS",
    "wrong_chain": "correct {net}_RPC_URLS or {net}_CHAIN_ID",
    "no_token": "correct {net}_USDT_CONTRACT, or use a node of the right chain",
    "wrong_decimals": "set {net}_USDT_DECIMALS to those of the token, if {net}_USDT_CONTRACT is the right one",
    "wrong_block_number": "set block_number of this network in NETWORKS_FILE to arbsys, or to opcode",
    "finality_stalled": "wait until the chain finalizes blocks again, or set {net}_FINALITY to latest meanwhile",
    "lagging": "wait until the node has caught up, or raise {net}_MAX_HEAD_AGE",
    "clock_skewed": "set the clock of the database's server by NTP",
    "bad_reply": "see whether {net}_RPC_URLS is a node's whole URL, with its path",
}
CORRECT_TOKENS = "correct the JWT_ settings (README.md), or check --without-endpoint"
Seen = tuple[float, float]
"""The age of an endpoint's newest block by this machine's clock, and the most that it may have, 0: any. In seconds."""

BY_NTP = "set by NTP (chrony, systemd-timesyncd): {whose}"
USE_ANOTHER = "this endpoint cannot simulate calls: use another one in {net}_RPC_URLS"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one thing. `to_do` says how to mend it, and is empty when all is well.

    `warning`: it works all the same, and is not as it should be.
    """

    subject: str
    detail: str
    to_do: str = ""
    warning: bool = False

    @property
    def ok(self) -> bool:
        return self.warning or not self.to_do


def findings(settings: WorkerSettings, *, with_endpoint: bool) -> Iterator[Finding]:
    """Each finding as soon as it is made. `with_endpoint`: the endpoint's own settings too."""
    yield from database(WORKER)
    yield from broker(settings.redis_url.get_secret_value())
    if not settings.networks:
        yield Finding("networks", "no network has a node", "set ETHEREUM_RPC_URLS or TRON_RPC_URLS")
    ahead = database_ahead()
    blocks: list[Seen] = []
    for network in NETWORKS:
        if network in settings.networks:
            yield from chain(network, settings, ahead or 0.0, blocks)
        else:
            yield Finding(network, f"{network.upper()}_RPC_URLS is not set: its wallets are not synced")
    for variable in unknown_networks(settings):
        detail = f"{variable} gives nodes to a network that is not known: they are not used"
        yield Finding("networks", detail, "correct its name, or add the network to NETWORKS_FILE", warning=True)
    if ahead is not None:
        yield from clocks(ahead, blocks)
    if with_endpoint:
        yield from endpoint_settings()


def database(role: str) -> Iterator[Finding]:
    """Whether it answers, gives us the rights of this role, has the schema, and is spoken to in private."""
    try:
        with transaction() as connection:
            lacking, superuser = missing(connection, role), is_superuser(connection)
            overheard, of_superuser = _overheard(connection), runs_as_superuser(connection)
            yield from (Finding("database", *found) for found in check_connections.postgres(connection))
        version = None if lacking else applied_schema()
    except SQLAlchemyError as error:
        # The driver's message names host and user, and neither belongs into a log.
        why = reason(error.orig if isinstance(error, DBAPIError) and error.orig else error)
        yield Finding("database", f"out of reach: {why}", "correct DATABASE_URL, or start PostgreSQL")
        return
    if lacking:
        found = f"closed to us: the role of DATABASE_URL lacks {', '.join(right.text for right in lacking)}"
        yield Finding("database", found, f"use {role}, or GRANT {role} to it (db/roles.sql, docs/security.md)")
    elif version != SCHEMA_VERSION:
        found = "without a schema" if version is None else f"schema {version}, {SCHEMA_VERSION} is wanted"
        yield Finding("database", found, "run `alembic upgrade head`")
    elif superuser:
        to_do = f"use {role} (db/roles.sql): who comes by a superuser's password owns the whole server"
        yield Finding("database", f"schema {version}, and a superuser's role", to_do, warning=True)
    elif of_superuser:
        to_do = "run db/roles.sql as that superuser, and migrate as bal_owner from now on"
        yield Finding("database", f"schema {version}, whose triggers run as a superuser", to_do, warning=True)
    else:
        yield Finding("database", f"schema {version}")
    if overheard:
        yield Finding("database", overheard, "add sslmode=verify-full to DATABASE_URL", warning=True)


def _overheard(connection: Connection) -> str:
    """What goes to another machine can be read, and changed, unless that machine proves which one it is."""
    info: Any = connection.connection.driver_connection.info  # type: ignore[union-attr]  # it is open
    mode = info.get_parameters().get("sslmode", "prefer")
    here = info.host in LOOPBACK or info.host.startswith(("/", "@"))
    return "" if here or mode == "verify-full" else f"sslmode={mode}: nothing proves which server it is that answers"


def broker(url: str) -> Iterator[Finding]:
    """Whether a worker can use Redis."""
    yield from (Finding("redis", *found) for found in check_connections.broker(url, REDIS_TIMEOUT))


def endpoint_settings() -> Iterator[Finding]:
    """What only the endpoint needs: its own settings, and the key for tokens as it would load it."""
    wrong = problems(ApiSettings)
    if of_tokens := [sentence for sentence in wrong if "JWT" in sentence]:
        yield Finding("tokens", "; ".join(of_tokens), CORRECT_TOKENS)
    if others := [sentence for sentence in wrong if "JWT" not in sentence]:
        yield Finding("endpoint", "; ".join(others), "correct these settings (README.md), or check --without-endpoint")
    if not wrong:
        url = api_settings().database_url.get_secret_value()
        yield from (Finding("database", *found) for found in check_connections.endpoints_way(url))
        yield tokens(api_settings())


def tokens(settings: ApiSettings) -> Finding:
    algorithms, pem, url = settings.jwt_algorithms, settings.jwt_public_key, settings.jwt_jwks_url
    if pem and not public_keys(pem.get_secret_value(), algorithms):
        return Finding("tokens", f"JWT_PUBLIC_KEY: is not a PEM public key for {', '.join(algorithms)}", CORRECT_TOKENS)
    if url is None:
        return Finding("tokens", "the JWT_ settings fit together")
    try:
        found = usable(Provider(url.get_secret_value()).fetch_data(), algorithms)
    except NOT_FETCHED as error:
        return Finding("tokens", f"JWT_JWKS_URL: no keys ({type(error).__name__})", "correct it, or start the provider")
    if not found:
        to_do = "correct JWT_JWKS_URL or JWT_ALGORITHMS"
        return Finding("tokens", f"JWT_JWKS_URL: no key for {', '.join(algorithms)} among its keys", to_do)
    said = f"the JWT_ settings fit together, {sum(map(len, found.values()))} of the provider's keys can be used"
    if settings.audience is None:
        to_do = "set JWT_AUDIENCE to the aud of tokens for this API"
        return Finding("tokens", f"{said}, and tokens for any program are believed", to_do, warning=True)
    return Finding("tokens", said)


def database_ahead() -> float | None:
    """Seconds by which the database's clock is ahead of this machine's; None when it cannot be asked."""
    with suppress(SQLAlchemyError), transaction() as connection:
        before = time()
        return clock(connection) - (before + time()) / 2
    return None


def clocks(ahead: float, blocks: Sequence[Seen]) -> Iterator[Finding]:
    """Nothing where the database's clock, this machine's and the newest blocks agree. Else which of them is off.

    A worker goes by the database's clock, which is `ahead` of this machine's by so many seconds.
    """
    of_database = _off([(age + ahead, most) for age, most in blocks])
    of_machine = _off(blocks)
    said = f"the database's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    if of_database and of_machine:
        said = f"{said}, and both are off from the newest block of every endpoint"
        yield Finding("clocks", said, BY_NTP.format(whose="both, unless the chain or these nodes stand still"))
    elif of_database:
        said = f"{said}, which the newest blocks agree with"
        yield Finding("clocks", said, BY_NTP.format(whose="the database server's clock"))
    elif abs(ahead) > CLOCK_TOLERANCE:
        whose = "this machine's clock" if of_machine else "the wrong one of the two"
        yield Finding("clocks", said, BY_NTP.format(whose=whose), warning=True)


def _off(blocks: Sequence[Seen]) -> bool:
    """Whether the newest blocks of all endpoints are in the future by a clock, or all too old."""
    too_old = [0 < most < age for age, most in blocks]
    return bool(blocks) and (all(too_old) or all(age < -FUTURE_TOLERANCE for age, _ in blocks))


def chain(network: NetworkName, settings: WorkerSettings, ahead: float, blocks: list[Seen]) -> Iterator[Finding]:
    """Each endpoint of a network. Adds to `blocks` the newest block of each, as this machine's clock has it."""
    known, net = settings.chain(network), network.upper()
    try:
        facts = facts_of(known)
    except BadAddress as error:
        yield Finding(network, f"{net}_USDT_CONTRACT: {error}", f"correct {net}_USDT_CONTRACT")
        return
    nodes = nodes_for(network, settings)
    if known.api_keys and not any(node.keys for node in nodes):
        yield Finding(
            network,
            f"{net}_API_KEYS are set, and no URL is of a host that they are for",
            f"correct {net}_API_KEY_HOSTS, or {net}_RPC_URLS",
        )
    for node in nodes:
        # As a worker reads, but for what workers know of the endpoint already.
        reader = NodeReader(facts, [node], Shared("check"), settings.request_limit, known.per_second)
        yield endpoint(reader, ahead, blocks)


def endpoint(reader: NodeReader, ahead: float, blocks: list[Seen]) -> Finding:
    """One endpoint, asked for balances of nobody, and with each of its keys. By the database's clock, as a worker."""
    node, net = reader.nodes[0], reader.facts.network.upper()
    subject = f"{reader.facts.network} {node.name}"
    if bad := refused_keys(node):
        to_do = TO_DO[next(iter(bad.values())).code].format(net=net)
        return Finding(subject, "; ".join(f"key {at} of {len(node.keys)}: {said}" for at, said in bad.items()), to_do)
    try:
        _read(reader, 1, ahead, blocks)  # it learns the way, and the token's supply
        started = monotonic()
        snapshot = _read(reader, 1, ahead, blocks)
        milliseconds = (monotonic() - started) * 1000
        _read(reader, reader.max_wallets, ahead, blocks)  # it learns how many a request may ask for
    except ReadFailed as failure:
        return Finding(subject, f"{failure.code}: {failure}", TO_DO.get(failure.code, USE_ANOTHER).format(net=net))
    strategy, *_ = reader.shared.get([f"way:{node.id}"])[f"way:{node.id}"]
    if strategy == "single":
        detail = "it takes neither a call without a contract nor a Multicall3, but only wallet by wallet"
        return Finding(subject, detail, USE_ANOTHER.format(net=net))
    age = max(time() + ahead - snapshot.block.time, 0)
    return Finding(
        subject,
        f"chain {snapshot.chain_id}, block {snapshot.block.number}, {age:.0f} s old, answers in {milliseconds:.0f} ms, "
        f"{reader.max_wallets} wallets a request ({strategy})",
    )


def _read(reader: NodeReader, wallets: int, ahead: float, blocks: list[Seen]) -> Snapshot:
    """A read as a worker's, of so many wallets. Raises ReadFailed where one was not read."""
    nobody = [token_bytes(ACCOUNT_BYTES) for _ in range(wallets)]
    parts = reader.read(nobody, time() + ahead, monotonic() + READ_REQUESTS * reader.request_limit)
    for part in parts:
        if part.failure and part.failure.skew:
            blocks.append((-part.failure.skew[0] - ahead, reader.facts.max_age))
        if part.failure:
            raise part.failure
        if part.snapshot:
            blocks.append((time() - part.snapshot.block.time, reader.facts.max_age))
    snapshot = parts[0].snapshot
    assert snapshot
    return snapshot


def refused_keys(node: Node) -> dict[int, ReadFailed]:
    """Which of its keys an endpoint does not take, by their places in the setting from 1 on, and what it says."""
    bad: dict[int, ReadFailed] = {}
    for at, key in enumerate(node.keys, start=1):
        node.session.use(key.secret)
        try:
            node.head()
        except (Unauthorized, Throttled) as failure:
            bad[at] = failure
        except ReadFailed:  # that is not about the key
            break
    return bad
