"""Is what the settings say of each network really so? Its nodes, its token, and the clocks by which blocks are judged.

Nodes are asked what a worker asks them, in the way in which it would, its first contact with a node included: a node
that answers a cheaper question may still not be able to read a balance.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from secrets import token_bytes
from time import monotonic, time

from sqlalchemy.exc import SQLAlchemyError

from config.addresses import canonical
from config.base_settings import misnamed, unknown_networks
from config.network_settings import Chain, prefix
from config.networks import NetworkName
from config.settings import WorkerSettings
from db.networks import with_wallets
from db.session import clock, transaction
from worker.admin.check_feed import following
from worker.admin.finding import Finding
from worker.errors import ReadFailed, Throttled, Unauthorized
from worker.reading import nodes_for
from worker.reading.contract import ACCOUNT_BYTES, CLOCK_TOLERANCE, FUTURE_TOLERANCE, Snapshot
from worker.reading.facts import facts_of
from worker.reading.reader import READ_REQUESTS, NodeReader
from worker.reading.shared import Shared
from worker.reading.strategies import Node
from worker.reading.strategy_choice import strategy_of

TO_DO = {
    "unreachable": "correct {net}RPC_URLS, or see why this machine cannot reach it",
    "unavailable": "it is out of order: try again later, see whether {net}RPC_URLS has its whole path, or use another",
    "throttled": "lower {net}RPS, take another plan, or add an endpoint to {net}RPC_URLS",
    "unauthorized": "correct the key: in {net}RPC_URLS{keys}",
    "wrong_chain": "correct {net}RPC_URLS or {net}CHAIN_ID",
    "no_token": "correct {net}USDT_CONTRACT, or use a node of the right chain",
    "wrong_decimals": "set {net}USDT_DECIMALS to those of the token, if {net}USDT_CONTRACT is the right one",
    "wrong_block_number": "set block_number of this network in NETWORKS_FILE to arbsys, or to opcode",
    "finality_stalled": "wait, set {net}FINALITY to latest until blocks are final again, or raise {net}MAX_HEAD_AGE",
    "lagging": "wait until the node has caught up, or raise {net}MAX_HEAD_AGE",
    "state_gone": "use an archive node, or set {net}FINALITY=latest",
    "clock_skewed": "set the clock of the database's server by NTP",
    "bad_reply": "see whether {net}RPC_URLS is a node's whole URL, with its path",
}
USE_ANOTHER = "this endpoint cannot simulate calls: use another one in {net}RPC_URLS"
BY_NTP = "set by NTP (chrony, systemd-timesyncd): {whose}"

Seen = tuple[float, float]
"""The age of a node's newest block by this machine's clock, and the most that it may have, 0: any. In seconds."""


def networks(settings: WorkerSettings) -> Iterator[Finding]:
    """Every network that has nodes, those that have wallets and no node, and the clocks."""
    if not settings.networks:
        example = prefix(next(iter(settings.known_networks)))
        yield Finding("networks", "no network has a node", f"set {example}RPC_URLS, or that of another network")
    ahead = database_ahead()
    blocks: list[Seen] = []
    for network in settings.networks:
        yield from tokens_of(settings.chain(network))
        yield from nodes(network, settings, ahead or 0.0, blocks)
    yield from without_nodes(settings)
    if ahead is not None:
        yield from clocks(ahead, blocks)


def tokens_of(chain: Chain) -> Iterator[Finding]:
    """What an operator has to know of a network before its balances are shown: nothing is wrong."""
    network, own = chain.network, chain.network.usdt_contract
    read = canonical(network.family, chain.contract)
    if network.warning and (own is None or canonical(network.family, own) == read):
        yield Finding(network.name, network.warning, warning=True)
        return
    others = [each for each in (own, *network.other_tokens) if each and canonical(network.family, each) != read]
    if network.other_tokens and others:
        detail = f"balances of {', '.join(others)} are not read: people call these USDT as well"
        yield Finding(network.name, detail, warning=True)


def without_nodes(settings: WorkerSettings) -> Iterator[Finding]:
    """Networks that have wallets, and variables of networks that are not known: meant so, mistyped or forgotten."""
    known: list[NetworkName] = []
    with suppress(SQLAlchemyError), transaction() as connection:
        known = with_wallets(connection)
    for network in known:
        if network not in settings.known_networks:
            detail = "wallets of it are in the database, and no network of this name is known"
            yield Finding(network, detail, "add it to NETWORKS_FILE", warning=True)
        elif network not in settings.networks:
            variable = f"{prefix(network)}RPC_URLS"
            yield Finding(
                network, f"{variable} is not set: its wallets are not synced", f"set {variable}", warning=True
            )
    for variable in unknown_networks(settings):
        detail = f"{variable} gives nodes to a network that is not known: they are not used"
        yield Finding("networks", detail, "correct its name, or add the network to NETWORKS_FILE", warning=True)
    for variable in misnamed(settings):
        yield Finding("networks", f"{variable}: its network has no setting of this name", "correct it", warning=True)


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


def nodes(network: NetworkName, settings: WorkerSettings, ahead: float, blocks: list[Seen]) -> Iterator[Finding]:
    """Each node of a network. Adds to `blocks` the newest block of each, as this machine's clock has it."""
    chain, net = settings.chain(network), prefix(network)
    asked = nodes_for(network, settings)
    if chain.api_keys and not any(node.keys for node in asked):
        detail = f"{net}API_KEYS are set, and no URL is of a host that they are for"
        yield Finding(network, detail, f"correct {net}API_KEY_HOSTS, or {net}RPC_URLS")
    facts = facts_of(chain)
    for node in asked:
        # As a worker reads, but for what workers know of the node already.
        reader = NodeReader(facts, [node], Shared("check"), settings.request_limit, chain.per_second)
        found = node_finding(reader, ahead, blocks)
        if found.ok and chain.decimals is None:
            found = replace(found, detail=f"{found.detail}, its token has {reader.decimals} decimals")
        yield found
        if found.ok and settings.feed:
            yield following(reader, ahead)
        facts = replace(facts, decimals=reader.decimals)  # as those must be that the others tell


def node_finding(reader: NodeReader, ahead: float, blocks: list[Seen]) -> Finding:
    """One node, asked for balances of nobody, and with each of its keys. By the database's clock, as a worker."""
    node, net = reader.nodes[0], prefix(reader.facts.network)
    subject = f"{reader.facts.network} {node.name}"
    names = {"net": net, "keys": f", or {net}API_KEYS" if node.keys else ""}
    if bad := refused_keys(node):
        to_do = TO_DO[next(iter(bad.values())).code].format(**names)
        return Finding(subject, "; ".join(f"key {at} of {len(node.keys)}: {said}" for at, said in bad.items()), to_do)
    try:
        read(reader, 1, ahead, blocks)  # the first contact; it learns the strategy
        started = monotonic()
        snapshot = read(reader, 1, ahead, blocks)
        milliseconds = (monotonic() - started) * 1000
        read(reader, reader.max_wallets, ahead, blocks)  # it learns how many a request may ask for
    except ReadFailed as failure:
        return Finding(subject, f"{failure.code}: {failure}", TO_DO.get(failure.code, USE_ANOTHER).format(**names))
    entries = reader.shared.get([f"way:{node.id}"])
    strategy = strategy_of(reader.facts, node, entries, reader.shared.clock())
    if strategy == "single" != reader.facts.best_strategy:
        detail = "it takes neither a call without a contract nor a Multicall3, but only wallet by wallet"
        return Finding(subject, detail, USE_ANOTHER.format(**names))
    age = max(time() + ahead - snapshot.block.time, 0)
    return Finding(
        subject,
        f"chain {snapshot.chain_id}, block {snapshot.block.number}, {age:.0f} s old, answers in {milliseconds:.0f} ms, "
        f"{reader.max_wallets} wallets a request ({strategy})",
    )


def read(reader: NodeReader, wallets: int, ahead: float, blocks: list[Seen]) -> Snapshot:
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
    """Which of its keys a node does not take, by their places in the setting from 1 on, and what it says."""
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
