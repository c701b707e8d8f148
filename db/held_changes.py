"""Changes that are held back until they are believed, and how many wallets of a network usually change.

What decides is ``worker.sync.verify``; this is its memory. It is in Postgres because it has to outlive a batch and a
process, and because nobody but the worker may write it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from config.networks import NetworkName

MOST_COUNTED = 1_000_000  # wallet reads; beyond it older ones count half, so that a network's habits may change

_RATES = """
SELECT coalesce(r.wallets, 0), coalesce(r.changed, 0), coalesce(r.fallen, 0), EXISTS (SELECT FROM held_changes)
  FROM (SELECT) AS one LEFT JOIN change_rates r ON r.network = %(network)s
"""

_HELD = """
SELECT wallet_id, usdt_balance::text, native_balance::text, block_number, date_part('epoch', since), reads
  FROM held_changes WHERE wallet_id = ANY(%(wallet_ids)s)
"""

# A row hangs on the wallet's balance: it goes with it, as when the address changes. Rows are locked in one order.
_HOLD = """
INSERT INTO held_changes AS h (wallet_id, usdt_balance, native_balance, block_number, since, reads)
SELECT b.wallet_id, c.usdt, c.native, c.block_number, now(), 1
  FROM unnest(%(ids)s::uuid[], %(usdt)s::numeric[], %(native)s::numeric[], %(blocks)s::bigint[])
       AS c (wallet_id, usdt, native, block_number)
  JOIN balance_cache b USING (wallet_id) ORDER BY b.wallet_id FOR KEY SHARE OF b
    ON CONFLICT (wallet_id) DO UPDATE
   SET (usdt_balance, native_balance, block_number, since, reads) =
       (SELECT EXCLUDED.usdt_balance, EXCLUDED.native_balance,
               CASE WHEN same THEN least(h.block_number, EXCLUDED.block_number) ELSE EXCLUDED.block_number END,
               CASE WHEN same THEN h.since ELSE EXCLUDED.since END,
               CASE WHEN same THEN h.reads + 1 ELSE 1 END
          FROM (SELECT (h.usdt_balance = 0, h.native_balance = 0)
                       = (EXCLUDED.usdt_balance = 0, EXCLUDED.native_balance = 0) AS same) AS compared)
"""

_FORGET = "DELETE FROM held_changes WHERE wallet_id = ANY(%(wallet_ids)s)"

_COUNT = """
INSERT INTO change_rates AS r (network, wallets, changed, fallen)
VALUES (%(network)s, %(wallets)s, %(changed)s, %(fallen)s)
    ON CONFLICT (network) DO UPDATE
   SET (wallets, changed, fallen) = (SELECT (r.wallets + EXCLUDED.wallets) / d, (r.changed + EXCLUDED.changed) / d,
                                            (r.fallen + EXCLUDED.fallen) / d
          FROM (SELECT CASE WHEN r.wallets + EXCLUDED.wallets > %(most)s THEN 2 ELSE 1 END AS d) AS halved)
"""


class Rates(NamedTuple):
    """Of so many reads of wallets that had been read before, how many found a change, how many a fall to zero."""

    wallets: int = 0
    changed: int = 0
    fallen: int = 0


class HeldChange(NamedTuple):
    """A change that is not believed yet: what was read last, in base units, first at which block and since when (unix
    seconds) it has had these zeros, and how many batches have read such a change since.
    """

    usdt: int
    native: int
    block_number: int
    since: float
    reads: int = 1


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a network, and of the wallets of one batch, when it is judged."""

    rates: Rates
    held: Mapping[UUID, HeldChange]


NO_HISTORY = History(Rates(), {})


class Lesson(NamedTuple):
    """What a batch adds to that: changes to hold, those that are settled, and its own counts, if they are to count."""

    hold: Mapping[UUID, tuple[int, int, int]]  # USDT, native, block
    forget: Sequence[UUID]
    rates: Rates | None = None


NO_LESSON = Lesson({}, ())


def history(connection: Connection, network: NetworkName, wallet_ids: Sequence[UUID]) -> History:
    """What is known. The wallets are asked for only while anything is held at all."""
    row = connection.exec_driver_sql(_RATES, {"network": network}).one()
    held = {}
    if row[3]:
        rows = connection.exec_driver_sql(_HELD, {"wallet_ids": list(wallet_ids)})
        held = {wallet: HeldChange(int(usdt), int(native), *more) for wallet, usdt, native, *more in rows}
    return History(Rates(*row[:3]), held)


def learn(connection: Connection, network: NetworkName, lesson: Lesson) -> None:
    """Remember what a batch has shown. A wallet whose balance is gone meanwhile is left out."""
    if lesson.hold:
        usdt, native, blocks = zip(*lesson.hold.values(), strict=True)
        connection.exec_driver_sql(
            _HOLD, {"ids": list(lesson.hold), "usdt": list(usdt), "native": list(native), "blocks": list(blocks)}
        )
    if lesson.forget:
        connection.exec_driver_sql(_FORGET, {"wallet_ids": list(lesson.forget)})
    if lesson.rates:
        connection.exec_driver_sql(_COUNT, {"network": network, "most": MOST_COUNTED, **lesson.rates._asdict()})
