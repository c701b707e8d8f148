"""Workers that have to stop in the middle of a batch."""

import os
import signal
from collections.abc import Callable

import psycopg
import pytest
from chaos import Audit
from running import send, sender, unread
from scene import NEVER, Scene

from devstack.servers import CAP, wait_for

LONGEST_LEASE = {"SYNC_LEASE": "3600"}
"""A request to a node may take twice as long as a test waits: one that hangs does not end by itself."""

Start = Callable[..., tuple[Scene, Audit]]


def untouched(scene: Scene) -> bool:
    """Every wallet is as if the batch had never begun."""
    as_before = "bool_and(failures = 0 AND next_sync_at <= now()) AND NOT EXISTS (SELECT FROM leases)"
    return bool(scene.value(f"SELECT {as_before} FROM sync_schedule"))


def twice(number: signal.Signals) -> Callable[[Scene], None]:
    """A cold shutdown waits for a while; the second signal ends that."""

    def stop(scene: Scene) -> None:
        scene.worker.server.process.send_signal(number)
        scene.await_words("Initiating Soft Shutdown")
        scene.worker.server.process.send_signal(number)

    return stop


def to_all_of_it(scene: Scene) -> None:
    """As systemd does."""
    os.killpg(scene.worker.server.process.pid, signal.SIGTERM)


@pytest.mark.parametrize(
    ("stop", "more"),
    [
        (twice(signal.SIGQUIT), {}),
        (twice(signal.SIGTERM), {"REMAP_SIGTERM": "SIGQUIT"}),
        (to_all_of_it, {}),
    ],
    ids=["QUIT twice", "TERM twice, remapped", "TERM to the pool too"],
)
def test_a_batch_that_is_interrupted_hands_its_wallets_back_at_once(
    start_audited: Start, stop: Callable[[Scene], None], more: dict[str, str]
) -> None:
    """Long before its lease or its requests end: as if it had never begun."""
    scene, audit = start_audited(**LONGEST_LEASE, **NEVER, **more)
    since = scene.make_due()
    with scene.batches_in_hand(2):
        scene.wait_for(scene.main_process_has_heard, "the main process to know of both")
        stop(scene)
        scene.await_words("leases_handed_back", 2)
        assert untouched(scene)
    scene.worker.kill()
    scene.worker.start()
    scene.await_all_fresh(since=since)  # they need not be due again when they were read since
    audit.check_written()


def test_a_worker_told_to_stop_finishes_the_batches_in_hand(start_audited: Start) -> None:
    scene, _ = start_audited(**LONGEST_LEASE, **NEVER)
    since = scene.make_due()
    with scene.batches_in_hand(2):
        scene.worker.server.process.send_signal(signal.SIGTERM)
        scene.await_words("Warm shutdown")
    assert scene.worker.server.process.wait(CAP) == 0
    assert scene.value("SELECT count(*) FROM balance_cache WHERE last_synced > %s", since) == len(scene.wallets)
    assert not scene.tokens()


def test_a_batch_that_has_only_just_begun_is_finished_where_another_one_is_handed_back(start_audited: Start) -> None:
    """The main process interrupts what it knows of: here the one, and not yet the other."""
    scene, audit = start_audited(**LONGEST_LEASE, **NEVER)
    scene.beat.stop()
    main, children = scene.worker.server, scene.worker.children()
    since = scene.make_due()
    with sender(scene.env["REDIS_URL"]) as app, scene.hung(*scene.chains):
        send(app, "sync_due_wallets", "ethereum", queue="sync.ethereum")
        wait_for(lambda: len(scene.tokens(since)) == 1, main, what="the first to begin")
        alone = "beat's last tick to be done with"
        wait_for(lambda: not any(audit.queues.lengths().values()) and scene.messages_in_hand() == 1, main, what=alone)
        wait_for(scene.main_process_has_heard, main, what="the main process to know of the first")
        for child in children:
            child.suspend()
        send(app, "sync_due_wallets", "tron", queue="sync.tron")
        wait_for(
            lambda: any(any(unread(child.pid).values()) for child in children), main, what="the second to be handed on"
        )
        main.process.send_signal(signal.SIGSTOP)
        for child in children:
            child.resume()
        wait_for(lambda: len(scene.tokens(since)) == 2, main, what="the second to begin")
        main.process.send_signal(signal.SIGQUIT)
        main.process.send_signal(signal.SIGCONT)
        scene.await_words("Initiating Soft Shutdown")
        main.process.send_signal(signal.SIGQUIT)
        scene.await_words("leases_handed_back")
        assert len(scene.tokens(since)) == 1
    wait_for(lambda: not scene.tokens(), main, what="the second to be finished")
    read = "SELECT array_agg(DISTINCT network) FROM wallets JOIN balance_cache ON wallet_id = id WHERE last_synced > %s"
    assert scene.value(read, since) == ["tron"]
    assert scene.said("leases_handed_back") == 1
    scene.worker.kill()


def test_a_batch_past_its_soft_limit_hands_its_wallets_back(start_audited: Start) -> None:
    """What hangs here is the table that it wants to write to."""
    scene, audit = start_audited(SYNC_LEASE="12", **NEVER)
    with psycopg.connect(scene.env["DATABASE_URL"]) as other:
        other.execute("LOCK TABLE balance_cache IN SHARE MODE")
        since = scene.make_due()  # the other network's batch may just write when the table is free again
        scene.await_words("reason=SoftTimeLimitExceeded")
    scene.await_all_fresh(since)
    audit.check_written()
