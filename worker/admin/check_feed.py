"""Can blocks be followed at a node, and how does it tell what they change? Asked as a worker would ask it."""

from time import monotonic, time

from config.network_settings import prefix
from worker.admin.finding import Finding
from worker.errors import ReadFailed
from worker.feed.blocks import FeedBlock
from worker.feed.reader import FeedReader
from worker.feed.ways import entry_name
from worker.reading.reader import READ_REQUESTS, NodeReader
from worker.wording import counted

TOLD_BY = {
    "logs": "the token's logs and those of native coin",
    "token_logs": "the token's logs alone, for it takes one address a request",
    "receipts": "all receipts of a block, for it tells no logs by a block's hash",
    "infos": "the infos of a block's transactions",
}
SEES_NATIVE = {
    True: "it shows native coin that contracts pay",
    False: "it does not show native coin that contracts pay: that is seen by the wallets' own reads",
    None: "this block does not tell whether native coin that contracts pay is shown",
}


def following(reader: NodeReader, ahead: float) -> Finding:
    """How the one node of a reader is followed, by its newest block, or why it cannot be. It works without, too.

    `ahead`: seconds by which the database's clock is ahead of this machine's.
    """
    node = reader.nodes[0]
    subject = f"{reader.facts.network} {node.name}"
    try:
        block = FeedReader(reader).block(None, time() + ahead, monotonic() + READ_REQUESTS * reader.request_limit)
    except ReadFailed as failure:
        return _cannot(reader, subject, f"{failure.code}: {failure}")
    if block is None:
        return _cannot(reader, subject, f"it has no {reader.finality} block")
    return Finding(subject, _told(reader, block))


def _cannot(reader: NodeReader, subject: str, why: str) -> Finding:
    another = "logs or receipts of a block" if reader.facts.family == "evm" else "the infos of a block's transactions"
    to_do = f"add an endpoint that tells {another} to {prefix(reader.facts.network)}RPC_URLS, or set FEED=off"
    return Finding(subject, f"blocks cannot be followed there: {why}", to_do, warning=True)


def _told(reader: NodeReader, block: FeedBlock) -> str:
    node = reader.nodes[0]
    way = reader.shared.get([entry_name(node.id)])[entry_name(node.id)][0]
    of, accounts = counted(block.transactions, "transaction"), counted(len(block.touched), "account")
    return (
        f"follows blocks by {TOLD_BY[way]}; block {block.number} of {of} touched {accounts}; "
        f"{SEES_NATIVE[block.sees_native]}"
    )
