"""What a worker takes out of a queue, and what it leaves."""

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.queues.messages import MAX_BYTES, BadMessage, message, printable

TASK = "worker.tasks.sync_wallet"
TASKS = frozenset({TASK})
PLAIN = [["a"], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]


def coded(body: Any) -> str:
    return b64encode(json.dumps(body).encode()).decode()


def sent(**changes: Any) -> dict[str, Any]:
    """A message as another program's Celery sends it."""
    made: dict[str, Any] = {
        "body": coded(PLAIN),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": TASK,
            "id": "5c81c005-1c52-4e0d-85e2-862ee1cdd4d0",
            "eta": None,
            "expires": "2026-11-25T22:00:00+02:00",
            "retries": 0,
            "timelimit": [None, None],
            "argsrepr": "('a',)",
            "request_id": "r-1",
        },
        "properties": {
            "delivery_info": {"exchange": "", "routing_key": "refresh"},
            "delivery_tag": "a-tag",
            "body_encoding": "base64",
            "priority": 0,
        },
    }
    headers = changes.pop("headers", {})
    return {**made, **changes, "headers": {**made["headers"], **headers}}


def taken(given: Any) -> dict[str, Any]:
    return message(given if isinstance(given, bytes) else json.dumps(given).encode(), "refresh", TASKS)


def test_a_message_of_ours_keeps_its_task_its_arguments_its_expiry_and_its_request() -> None:
    made = taken(sent())
    assert json.loads(made["body"]) == PLAIN
    assert {name: made["headers"][name] for name in ("task", "id", "expires", "request_id")} == {
        "task": TASK,
        "id": "5c81c005-1c52-4e0d-85e2-862ee1cdd4d0",
        "expires": "2026-11-25T20:00:00+00:00",
        "request_id": "r-1",
    }


def test_what_was_taken_is_taken_again_when_its_worker_died() -> None:
    once = taken(sent())
    again = taken(once)
    assert again["properties"].pop("delivery_tag") != once["properties"].pop("delivery_tag"), "no two have one tag"
    assert again == once


def test_nothing_else_of_its_headers_goes_on_to_celery() -> None:
    headers = {"shadow": "x", "group": "g", "stamps": {"a": 1}, "stamped_headers": ["a"], "retries": 99, "chord": {}}
    assert set(taken(sent(headers=headers))["headers"]) == {
        *("lang", "task", "id", "root_id", "expires", "retries", "timelimit", "request_id")
    }
    assert taken(sent(headers=headers))["headers"]["retries"] == 0
    assert taken(sent(headers={"timelimit": [10**9, 10**9]}))["headers"]["timelimit"] == [None, None], (
        "the worker's own"
    )


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b"not json", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 10_000, "not JSON"),
        (b'{"a": {"__type__": "uuid", "__value__": {"hex": 5}}}', "not JSON"),
        (b" " * (MAX_BYTES + 1), "too large"),
        ([1], "not an object"),
        ("text", "not an object"),
        ({}, "no task"),
        ({"headers": [1]}, "no task"),
        ({"headers": {"task": {}}}, "no task"),
        ({**sent(), "headers": {}}, "no task"),
        (sent(headers={"task": "celery.starmap"}), "an unknown task"),
        *((sent(headers={"id": value}), "its id is none") for value in (None, "", 5, "x" * 129, "a\x1b[2J", "ä")),
        (sent(headers={"eta": "2999-01-01T00:00:00"}), "eta is set"),
        (sent(headers={"compression": "application/x-gzip"}), "compression is set"),
        (sent(headers={"expires": "soon"}), "it expires"),
        (sent(headers={"expires": {}}), "it expires"),
        (sent(headers={"expires": "0001-01-01T00:00:00+14:00"}), "it expires"),
        (sent(**{"content-type": "application/x-python-serialize"}), "its content is not JSON"),
        (sent(**{"content-type": None}), "its content is not JSON"),
        (sent(**{"content-encoding": "binary"}), "its content is not JSON"),
        (sent(properties=None), "no properties"),
        (sent(properties={"body_encoding": "rot13"}), "an unknown way"),
        (sent(body=None), "no properties, or no body"),
        (sent(body="not base64!"), "not base64"),
        (sent(body=b64encode(b"\xff").decode()), "not base64"),
        (sent(body=b64encode(b"{").decode()), "not JSON"),
        (sent(body=coded({"args": []})), "not arguments alone"),
        (sent(body=coded([[], []])), "not arguments alone"),
        (sent(body=coded([[], {}, {"callbacks": [{"task": TASK, "args": []}]}])), "not arguments alone"),
        (sent(body=coded([[], {}, {"chain": [{"task": TASK}]}])), "not arguments alone"),
    ],
)
def test_what_is_no_message_of_ours_is_refused_with_a_reason(given: Any, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        taken(given)


def test_an_unknown_tasks_name_is_told_cut_and_without_what_moves_a_cursor() -> None:
    with pytest.raises(BadMessage) as refused:
        taken(sent(headers={"task": "\x1b[2J\nx" + "y" * 1000}))
    assert refused.value.task == "?[2J?x" + "y" * 74
    assert printable("\u202egnp.exe") == "?gnp.exe"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["body", "content-type", "content-encoding", "headers", "properties"]), json_values)
def test_whatever_a_part_of_a_message_is_it_is_taken_or_refused(part: str, value: Any) -> None:
    try:
        made = message(json.dumps({**sent(), part: value}), "refresh", TASKS)
    except BadMessage:
        return
    assert made["headers"]["task"] == TASK


@given(st.sampled_from(["task", "id", "expires", "eta", "timelimit", "compression", "request_id"]), json_values)
def test_whatever_a_header_is_the_message_is_taken_or_refused(name: str, value: Any) -> None:
    try:
        made = message(json.dumps(sent(headers={name: value})), "refresh", TASKS)
    except BadMessage:
        return
    assert made["headers"]["task"] == TASK


@given(st.binary(max_size=200))
def test_bytes_are_refused_and_nothing_worse(given: bytes) -> None:
    with pytest.raises(BadMessage):
        message(given, "refresh", TASKS)
