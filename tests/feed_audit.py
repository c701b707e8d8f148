"""What is written while blocks are followed, held against what the chains say: rows, touches, and what serves them."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
from market import Market
from scene import Scene

from devstack.servers import ServerFailed, wait_for

# Everything is noted in the transaction that does it, so what is told of one moment is of that moment.
# written    Each row that is written to the cache.
# outlived   Touches that are still there when a row of their block, or of a later one, has been written.
# noted      Each touch, with where the feed was, the block that the wallet's row was of, and when that was claimed.
# moved      Where the feed was after each of its steps, and whether that step went back.
# lost       Touches that went though no row is of their block.
# doubled    Wallets that were claimed for a touch while another claim had them.
_WATCH = """
CREATE TABLE written (
    n bigserial PRIMARY KEY, wallet_id uuid, usdt numeric, native numeric, block_number bigint, claimed_at timestamptz,
    written_at timestamptz DEFAULT clock_timestamp(), checked bool DEFAULT false
);
CREATE TABLE outlived (wallet_id uuid, block_number bigint, row_block bigint);
CREATE TABLE noted (
    wallet_id uuid, network text, block_number bigint, followed bigint, row_block bigint, claimed_at timestamptz,
    tx xid8 DEFAULT pg_current_xact_id()
);
CREATE TABLE moved (
    network text, number bigint, orphaned_to bigint, went_back bool, tx xid8 DEFAULT pg_current_xact_id(),
    at timestamptz DEFAULT clock_timestamp()
);
CREATE TABLE lost (wallet_id uuid, block_number bigint);
CREATE TABLE doubled (wallet_id uuid, token uuid, other uuid);
CREATE FUNCTION watch_rows() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO written (wallet_id, usdt, native, block_number, claimed_at)
    VALUES (NEW.wallet_id, NEW.usdt_balance, NEW.native_balance, NEW.block_number, NEW.last_synced);
    INSERT INTO outlived SELECT wallet_id, block_number, NEW.block_number FROM touches
     WHERE wallet_id = NEW.wallet_id AND block_number <= NEW.block_number;
    RETURN NULL;
END $$;
CREATE FUNCTION watch_touches() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO noted
        SELECT NEW.wallet_id, NEW.network, NEW.block_number, f.block_number, b.block_number, b.last_synced
          FROM feed_cursor AS f LEFT JOIN balance_cache AS b ON b.wallet_id = NEW.wallet_id
         WHERE f.network = NEW.network;
    ELSIF NOT EXISTS (SELECT FROM balance_cache
                       WHERE wallet_id = OLD.wallet_id AND block_number >= OLD.block_number) THEN
        INSERT INTO lost VALUES (OLD.wallet_id, OLD.block_number);
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION watch_steps() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO moved VALUES (
        NEW.network, NEW.block_number, coalesce(OLD.orphaned_to, 0), NEW.reorganisations > OLD.reorganisations);
    RETURN NULL;
END $$;
CREATE FUNCTION watch_claims() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO doubled
    SELECT t.wallet_id, NEW.token, l.token FROM leases AS l JOIN touches AS t ON t.wallet_id = ANY(l.wallet_ids)
     WHERE l.token <> NEW.token AND l.lease_until > now() AND t.wallet_id = ANY(NEW.wallet_ids);
    RETURN NULL;
END $$;
CREATE TRIGGER watch AFTER INSERT OR UPDATE ON balance_cache FOR EACH ROW EXECUTE FUNCTION watch_rows();
CREATE TRIGGER watch AFTER INSERT OR DELETE ON touches FOR EACH ROW EXECUTE FUNCTION watch_touches();
CREATE TRIGGER watch AFTER UPDATE ON feed_cursor FOR EACH ROW
   WHEN (OLD.block_hash IS DISTINCT FROM NEW.block_hash) EXECUTE FUNCTION watch_steps();
CREATE TRIGGER watch AFTER INSERT OR UPDATE OF token ON leases FOR EACH ROW
   WHEN (NEW.first_due IS NULL) EXECUTE FUNCTION watch_claims();
"""

# Touches that were noted though the wallet's row was of their block or a later one; and whether that block was followed
# only after the row had been claimed.
_NOTED_AGAIN = """
SELECT n.*, m.number, m.orphaned_to, m.went_back,
       n.row_block > n.followed OR EXISTS (SELECT FROM moved AS l WHERE l.network = n.network
                                              AND l.number >= n.row_block AND l.at > n.claimed_at) AS is_ahead
  FROM noted AS n LEFT JOIN moved AS m ON (m.tx, m.network) = (n.tx, n.network)
 WHERE n.row_block >= n.block_number
"""


class FeedAudit:
    """Holds every row that is written against the markets' ledgers, and every touch against the rows. Made before the
    processes begin.

    A touch is served by the first row of its block or of a later one, and by the transaction that writes that row. It
    is *served twice* where it outlives that transaction; where it is claimed while another claim has its wallet; and
    where a touch is noted though such a row is there. For that last there is a need only where the row may be of a
    block that is gone (the feed goes back, or has gone back), or was read ahead of the feed: then nobody had said of
    its block yet what it changed. Where blocks are final, a wallet whose USDT did not move in it is not read once more
    for that.
    """

    def __init__(self, scene: Scene, markets: dict[str, Market]) -> None:
        self.scene, self.markets = scene, markets
        self.accounts = {
            wallet.id: (market, wallet.account) for market in markets.values() for wallet in market.wallets
        }
        with psycopg.connect(scene.env["DATABASE_URL"], autocommit=True) as connection:
            connection.execute(_WATCH)
            # After a gap everything has changed at once, and no event says why: as these chains have always been.
            for network in markets:
                connection.execute("INSERT INTO change_rates VALUES (%s, 1000000, 900000, 0)", [network])

    def begins(self) -> None:
        """All wallets are watched and have been read: what was noted until now was for their sake."""
        self.scene.rows("TRUNCATE noted, moved, outlived, doubled")

    def check_written(self) -> int:
        """Every row written since the last check is what its wallet had at that block. How many rows those were."""
        rows = self.scene.rows("UPDATE written SET checked = true WHERE NOT checked RETURNING *")
        for row in rows:
            market, account = self.accounts[row["wallet_id"]]
            shown = int(row["usdt"]), int(row["native"])
            begin, end = row["claimed_at"].timestamp(), row["written_at"].timestamp()
            with market.making:
                had = market.ledger.could_be_read(account, row["block_number"], begin, end)
            ledger = market.ledger
            assert shown in had, f"{row} where there was {had}: {ledger.entries[account]}, forks {ledger.forks}"
        assert self.scene.rows("SELECT * FROM lost") == [], "touches that no read has served"
        twice = self.served_twice()
        assert twice == [], f"served twice: {twice[:5]}"
        for market in self.markets.values():
            if market.failure:
                raise ServerFailed("no blocks are made any more") from market.failure
        return len(rows)

    def served_twice(self) -> list[dict[str, Any]]:
        """The touches that a wallet was, or is to be, read for once more without need."""
        found = self.scene.rows("SELECT * FROM outlived") + self.scene.rows("SELECT * FROM doubled")
        return found + [row for row in self.scene.rows(_NOTED_AGAIN) if not self._is_needed(row)]

    def _is_needed(self, touch: dict[str, Any]) -> bool:
        """Whether there is a reason for a touch that was noted though the wallet's row is of its block, or later."""
        if touch["number"] is None:  # noted by a batch, not by a step of the feed
            return bool(touch["is_ahead"])
        number = touch["number"]
        if touch["went_back"] or number <= touch["orphaned_to"]:
            return True
        market, account = self.accounts[touch["wallet_id"]]
        if not market.lag:  # another block may come in its place
            return True
        with market.making:
            before, after = (market.ledger.held(account, block)[0] for block in (number - 1, number))
        return before != after

    def wrong_rows(self, network: str) -> list[str]:
        """The wallets of a network whose rows are not what they have at its newest block that is read."""
        market = self.markets[network]
        found = "SELECT wallet_id, usdt_balance, native_balance FROM balance_cache"
        rows = {
            row["wallet_id"]: (int(row["usdt_balance"]), int(row["native_balance"])) for row in self.scene.rows(found)
        }
        final = market.final
        wrong = []
        for wallet in market.wallets:
            held = market.ledger.held(wallet.account, final)
            if rows.get(wallet.id) != held:
                wrong.append(f"{wallet.account.hex()[-4:]}: {rows.get(wallet.id)} instead of {held}")
        return wrong

    def touches(self) -> int:
        """Reads that are owed."""
        return int(self.scene.value("SELECT count(*) FROM touches"))

    def noted(self) -> Counter[str]:
        """How many touches there ever were of each account."""
        found = self.scene.rows("SELECT wallet_id, count(*) AS touches FROM noted GROUP BY wallet_id")
        return Counter({self.accounts[row["wallet_id"]][1].hex(): row["touches"] for row in found})


def await_all(scene: Scene, condition: Callable[[], bool], told: Callable[[], str], what: str) -> None:
    """Wait for something, and say what there was instead where it does not come."""
    try:
        wait_for(condition, *scene.running, what=what, pause=0.1)
    except ServerFailed as failure:
        raise ServerFailed(f"{failure}\n{told()}") from None
