"""Celery's settings and the beat schedule, nothing else. Reasons are beside each; the names are Celery's own."""

from kombu import Queue

from config.broker import FEED_QUEUE, REFRESH_QUEUE, TICKS_QUEUE, location, queues, transport_options
from config.settings import worker_settings

FOLLOWED_EACH = 1.0  # seconds; whoever comes too early for the next block asks Postgres alone
CLOCKS_DIFFER = 10  # seconds by which beat's clock and a worker's may be apart: a message expires at a moment

_settings = worker_settings()

_redis_url = _settings.redis_url.get_secret_value()
broker_url, broker_use_ssl = location(_redis_url)
broker_connection_retry_on_startup = True
broker_connection_max_retries = None  # a worker waits for Redis as long as it takes
broker_pool_acquire_timeout = 5  # seconds; nobody waits for a connection for ever
broker_transport_options = {
    **transport_options(redis_url=_redis_url),
    "queue_order_strategy": "worker.queues.fair_order:FairOrder",
}
# Once more, at once: who sends is a tick, of which there is another soon, or a request that somebody waits for.
task_publish_retry_policy = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}

# The row in Postgres is the result.
result_backend = None
result_expires = None  # else beat would send a task of Celery's own every night, which tidies results up
task_ignore_result = True

# JSON alone: whoever can write to the broker must not be able to run code.
task_serializer = "json"
accept_content = ["json"]
enable_utc = True
timezone = "UTC"

# All that -Q may name. A worker without -Q serves those of the networks that it has nodes of (worker.app).
task_queues = [Queue(name) for name in queues(_settings.known_networks, feed=True)]
task_default_queue = REFRESH_QUEUE
task_create_missing_queues = False  # a mistyped queue is an error, not a place where messages rot

# A message may be lost or come twice, so it only says that there is work; redelivery adds duplicates and no safety.
# Late acknowledgement makes a deploy's interrupted work start again at once.
task_acks_late = True
task_acks_on_failure = True
task_acks_on_timeout = True
task_reject_on_worker_lost = False
task_retry_on_worker_lost = False

# Backstops: a read gives up long before (config.settings has the order of all time-outs).
task_soft_time_limit = _settings.task_soft_limit
task_time_limit = _settings.task_hard_limit

worker_prefetch_multiplier = 1  # a refresh overtakes every batch that no process has begun
worker_cancel_long_running_tasks_on_connection_loss = True  # else each reconnection runs the work in hand twice
worker_soft_shutdown_timeout = _settings.task_soft_limit  # a cold shutdown waits as long as a batch in hand may take
worker_max_tasks_per_child = 1000  # what leaks goes with its process
worker_max_memory_per_child = 400_000  # KiB; the same for what leaks quickly
worker_eta_task_limit = 1000  # no task is sent for later; should one be, it must not fill a worker's memory
worker_hijack_root_logger = False  # logging is ours (worker.app)
worker_send_task_events = False  # nobody listens: a batch's own line says what it did
worker_enable_remote_control = False  # one message in Redis would end every worker
worker_consumer = "worker.queues.consumer:Consumer"  # whatever the command line says, it listens to its queues alone

beat_schedule = {
    "dispatch-due-wallets": {
        "task": "worker.tasks.dispatch_due_wallets",
        "schedule": _settings.dispatch_interval,
        # A tick that nobody took for long has nothing to add. Not at once: two hosts' clocks may differ by seconds.
        "options": {"expires": _settings.dispatch_interval + CLOCKS_DIFFER, "queue": TICKS_QUEUE},
    }
} | {
    f"follow-blocks-{network}": {
        "task": "worker.tasks.follow_blocks",
        "args": (network,),
        "schedule": FOLLOWED_EACH,
        "options": {"expires": FOLLOWED_EACH + CLOCKS_DIFFER, "queue": FEED_QUEUE},
    }
    for network in (_settings.networks if _settings.feed else ())
}
# It reads and writes no schedule file, and bounds the ticks that wait.
beat_scheduler = "worker.schedule.beat:Scheduler"
beat_max_loop_interval = 5  # seconds; it notices a clock that was set within these
imports = ["worker.tasks"]
