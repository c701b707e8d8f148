"""The operator's page as HTML, in each of its states: who may see it, what it shows, and what it never shows."""

import asyncio
import re
from base64 import b64encode
from html.parser import HTMLParser
from typing import Any

import pytest
from asgi import Answer, ask
from pictures import NOW, STATES, TOKEN, Shown, app, history, network, picture, settings

from config.ops_settings import OpsSettings
from config.settings import problems
from ops import page
from ops.history import History
from ops.page_access import Access, access
from ops.page_render import assets
from ops.page_verdict import Level
from ops.picture import Picture

STATE_NAMES = list(STATES)


@pytest.fixture(autouse=True)
def at_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "time", lambda: NOW)


def basic(password: str, user: str = "anybody") -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def get(
    found: Picture | None, path: str = "/", query: bytes = b"", token: str | None = TOKEN, **headers: str
) -> Answer:
    made = app(Shown(found, history([found]) if found else History()), settings(token))
    return ask(made, path, query, **{"authorization": f"Bearer {TOKEN}", **headers})


def text(answer: Answer) -> str:
    """What a person reads: without tags, on one line."""
    body = re.sub(r"(?s)<(title|script|style|noscript).*?</\1>", " ", answer.body.decode())
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)).replace(" .", ".").replace(" ,", ",")


class Elements(HTMLParser):
    """The elements of a page, with their attributes; fails where they are not closed in order."""

    VOID = frozenset({"meta", "link", "input", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", STATE_NAMES)
def test_every_state_is_shown(name: str) -> None:
    answer = get(STATES[name])
    assert answer.status == 200
    elements = Elements(answer.body.decode()).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert [tag for tag, _ in elements].count("h1") == 1


@pytest.mark.parametrize("name", STATE_NAMES)
def test_no_state_has_style_or_script_that_the_policy_forbids(name: str) -> None:
    for tag, attributes in Elements(get(STATES[name]).body.decode()).found:
        assert "style" not in attributes
        assert not [each for each in attributes if each.startswith("on")]
        if tag == "script":
            assert (attributes["src"] or "").startswith("/static/")
        assert tag != "style"


@pytest.mark.parametrize("name", STATE_NAMES)
def test_nothing_comes_from_elsewhere(name: str) -> None:
    for _, attributes in Elements(get(STATES[name]).body.decode()).found:
        for each in ("src", "href", "action"):
            assert re.match(r"[/#]|data:image/", attributes.get(each) or "/")
            assert not (attributes.get(each) or "").startswith("//")


TOLD = [
    ("busy", "2,090 of 2,102 wallets are fresh; 12 fail."),
    ("busy", "All 12,480 wallets are fresh."),
    ("busy", "throttled 9 0.4% The endpoint wants fewer requests"),
    ("busy", "bad_address 3 0.1% The address is not one of its network."),
    ("busy", "To do Correct the address in wallets, or delete the wallet."),
    ("busy", "3 tron.public.example:8090 Resting 5 min 8 s throttled, 4 in a row single method eth_call"),
    ("busy", "Quota: 31,204 of 100,000 requests used since midnight UTC (31.2%)."),
    ("busy", "the day comes to 74.9%"),
    ("busy", "half 31 s 95% 58 s oldest 1 min 14 s"),
    ("busy", "sync 7 5 s"),
    ("busy", "batch@worker-1 6 s ago"),
    ("busy", "celery -A worker resync --network tron --failed --wait"),
    ("no pass yet", "The first pass is on its way"),
    ("no network", "No network is read yet Give one a node: set TRON_RPC_URLS"),
    ("no wallets", "INSERT INTO wallets (user_id, network, address) VALUES"),
    ("not synced", "12 wallets are not read: ETHEREUM_RPC_URLS is not set."),
    ("database away", "The database does not answer."),
    ("database away", "Postgres: OperationalError"),
    ("redis away", "Nothing is known of endpoints and requests: Redis does not answer."),
    ("redis away", "Beat unknown without Redis"),
    ("both away", "Nothing is known: the database does not tell."),
    ("out", "No endpoint answers since 08:00 UTC, for 12 min (unreachable)."),
    ("out", "See whether the host is up"),
    ("out", "refuses 1 key of 1"),
    ("stalled", "Nothing was read for 4 min while 402 wallets are due."),
    ("stalled", "Beat: last tick carried out 4 min 10 s ago. See whether beat runs"),
    ("stalled", "no worker serves it"),
    ("old", "These figures are 4 min old."),
    ("old", "Nothing was looked at for 4 min. Before: All 2,102 wallets are fresh."),
    ("a million", "991,204 of 1,000,000 wallets are fresh; 8,796 fail."),
    ("a million", "6 <0.1%"),
    (
        "a feed",
        "Blocks are followed: wallets that they touch are read, every 6 s, and all others by a sweep. They are so",
    ),
    ("a feed", "Followed to block 81,234,567 1 min 1 s old Touches waiting 31 one for 6 s Missed, USDT 1"),
    ("a feed", "Blocks do not show here what contracts pay in the native coin: reads by the cadence do."),
    ("a feed", "All wallets are read every 1 s. They are so few that reading all of them costs no more"),
    ("a feed behind", "The feed of blocks is behind for 3 min 6 s: wallets are read by the cadence."),
    ("a feed behind", "Behind for 3 min 10 s"),
    ("a feed behind", "Gaps 1"),
    ("a feed behind", "*_DAILY_QUOTA is too small for this many wallets, however seldom they are read."),
    ("a feed behind", "intervals are 4 times as long."),
]


@pytest.mark.parametrize(("name", "words"), TOLD)
def test_what_a_state_says(name: str, words: str) -> None:
    assert words in text(get(STATES[name])).replace("&lt;", "<")


@pytest.mark.parametrize("name", ["redis away", "both away", "database away", "no pass yet"])
def test_what_is_unknown_is_never_told_as_zero(name: str) -> None:
    told = text(get(STATES[name]))
    if name in {"redis away", "both away"}:
        assert not re.search(r"Requests|Waiting|Ready", told)
    if name != "redis away":
        assert not re.search(r"Overdue|Being read|0%", told)


def test_the_title_says_what_is_wrong() -> None:
    assert "<title>tron: Out ·" in get(STATES["out"]).body.decode()
    assert "<title>tron: Fresh ·" in get(STATES["well"]).body.decode()


def test_nothing_is_said_of_a_feed_where_nobody_has_decided_anything() -> None:
    assert "How it is kept fresh" not in text(get(STATES["well"]))
    told = text(get(STATES["a feed"]))
    assert told.count("How it is kept fresh") == 3
    assert told.count("Followed to block") == 2, "the third one follows none"


def test_words_of_strangers_are_shown_as_words() -> None:
    body = get(STATES["hostile"]).body.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body
    assert "&lt;i&gt;worker&lt;/i&gt;" in body
    assert not re.search(r"<script>|<img|<b>bold|<i>|\u202e|\x1b", body)


@pytest.mark.parametrize("path", ["/", "/find"])
def test_without_a_token_in_the_settings_the_page_is_closed_and_says_how_to_open_it(path: str) -> None:
    answer = get(STATES["busy"], path, token=None)
    assert answer.status == 403
    assert "It opens once OPS_TOKEN is set" in text(answer)
    assert "wallets are fresh" not in text(answer)


WRONG = [
    *(
        "",
        "Bearer",
        "Bearer ",
        "Bearer another token",
        f"Bearer {TOKEN}x",
        f"Token {TOKEN}",
        TOKEN,
        "Basic",
        "Basic ###",
    ),
    *(basic("another"), basic(""), "Basic " + b64encode(TOKEN.encode()).decode()),
]


@pytest.mark.parametrize("path", ["/", "/find"])
@pytest.mark.parametrize("given", WRONG)
def test_who_has_no_token_or_another_one_is_asked_for_it(path: str, given: str) -> None:
    answer = get(STATES["busy"], path, authorization=given)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert "wallets are fresh" not in text(answer)


@pytest.mark.parametrize(
    "given", [f"Bearer {TOKEN}", f"bearer {TOKEN}", basic(TOKEN), basic(TOKEN, user=""), basic(TOKEN, "ops")]
)
def test_who_has_the_token_sees_the_page(given: str) -> None:
    assert get(STATES["busy"], authorization=given).status == 200


def test_a_token_with_a_colon_is_a_password_too() -> None:
    assert access("a:b:c", [basic("a:b:c").encode()]) is Access.GRANTED


def test_two_headers_are_none() -> None:
    assert access(TOKEN, [f"Bearer {TOKEN}".encode()] * 2) is Access.REFUSED
    assert access(TOKEN, []) is Access.REFUSED


@pytest.mark.parametrize("token", [None, ""])
def test_no_token_opens_a_page_that_has_none(token: str | None) -> None:
    assert access(token, [b"Bearer "]) is Access.CLOSED


@pytest.mark.parametrize(("path", "given"), [("/", f"Bearer {TOKEN}"), ("/", ""), ("/find", f"Bearer {TOKEN}")])
def test_no_reply_may_be_kept_framed_or_taken_for_something_else(path: str, given: str) -> None:
    headers = get(STATES["busy"], path, authorization=given).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:;")
    assert policy.endswith("form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
    assert "unsafe" not in policy


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_but_a_look_is_served(method: str) -> None:
    made = app(Shown(STATES["busy"], History()), settings())
    assert ask(made, "/", method=method, authorization=f"Bearer {TOKEN}").status == 405


def test_the_style_and_the_script_are_served_under_addresses_of_their_content() -> None:
    body = get(STATES["busy"]).body.decode()
    for name, asset in assets().items():
        assert f"/static/{name}?v={asset.version}" in body
        answer = get(STATES["busy"], f"/static/{name}", authorization="")
        assert (answer.status, answer.body) == (200, asset.body)
        assert "immutable" in answer.headers["cache-control"]
    for name in ("nothing.css", "..%2fpage.py", "%2e%2e"):
        assert get(STATES["busy"], f"/static/{name}").status == 404


def test_a_page_without_javascript_is_refreshed_by_the_browser() -> None:
    refreshed = '<noscript><meta http-equiv="refresh" content="30"></noscript>'
    assert refreshed in get(STATES["busy"]).body.decode()
    assert "http-equiv" not in get(STATES["busy"], "/find").body.decode(), "a look-up stays as it is"


def test_buttons_that_need_javascript_are_hidden_without() -> None:
    buttons = [each for tag, each in Elements(get(STATES["busy"]).body.decode()).found if tag == "button"]
    copying = [each for each in buttons if each.get("class") == "copy"]
    assert len(copying) >= 4
    assert all("hidden" in each for each in copying)


def test_each_level_has_a_shape_of_its_own() -> None:
    shapes = set()
    for name in ("out", "not synced", "no wallets", "well"):
        body = get(STATES[name]).body.decode()
        shapes |= set(re.findall(r'<svg class="shape (\w+)"', body))
    assert shapes == {level.name.lower() for level in Level}


def test_one_network_needs_no_overview_and_two_have_one() -> None:
    assert 'aria-label="Networks"' not in get(picture(network())).body.decode()
    assert 'aria-label="Networks"' in get(picture(network(), network("bsc"))).body.decode()


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (None, None),
        ("", None),
        ("   ", None),
        ("a" * 15, "at least 16 characters"),
        ("a" * 16, None),
        (" with spaces, in and around ", None),
        ("geheimer-schl\u00fcssel", None),
        ("two-lines-0123456789\nof-a-file-0123456", "one line of printable characters"),
        ("a-bell-\a-0123456789", "one line of printable characters"),
    ],
)
def test_a_token_that_is_guessed_or_cannot_be_typed_stops_the_start(
    token: str | None, problem: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    if token is not None:
        monkeypatch.setenv("OPS_TOKEN", token)
    said = problems(OpsSettings)
    assert [problem in each for each in said if problem] == ([True] if problem else [])
    assert bool(said) is bool(problem)
    assert not [each for each in said if "0123" in each], "no value is shown"


def test_no_network_has_the_id_of_something_else_on_the_page_whatever_its_name() -> None:
    names = ["main", "live", "q", "announcement", "x", "x-name", "ethereum"]
    body = get(picture(*map(network, names))).body.decode()
    ids = re.findall(r'\bid="([^"]*)"', body)
    assert len(ids) == len(set(ids))
    assert {each[1:] for each in re.findall(r'href="(#[^"]+)"', body)} <= set(ids)
    assert set(re.findall(r'aria-labelledby="([^"]+)"', body)) <= set(ids)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (b"", "Type a wallet's id, a user's id, or an address in any spelling."),
        (b"q=", "Type a wallet's id"),
        (b"q=%20", "Type a wallet's id"),
        (b"q=" + b"a" * 129, "That is no id and no address"),
        (b"q=%00", "That is no id and no address"),
        (b"q=%ff%fe", "The database does not answer"),
        (b"q=a&q=b", "The database does not answer"),
        (b"other=1", "Type a wallet's id"),
    ],
)
def test_whatever_is_typed_is_answered(query: bytes, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch)
    answer = get(STATES["busy"], "/find", query)
    assert answer.status == 200
    assert words in text(answer).replace("&#39;", "'")


def given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of a database that nobody serves: no socket is opened in unit tests."""
    from sqlalchemy.exc import OperationalError

    from ops import lookup

    def away(_seconds: float) -> Any:
        raise OperationalError("", {}, Exception("no socket"))

    monkeypatch.setattr(lookup, "bounded_transaction", away)


def test_a_term_is_shown_as_it_was_typed_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch)
    body = get(STATES["busy"], "/find", b"q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").body.decode()
    assert "<script>alert" not in body
    assert "&lt;script&gt;alert(1)" in body


def test_many_may_look_at_once() -> None:
    from asgi import answer

    made = app(Shown(STATES["busy"], history()), settings())

    async def looks() -> list[Answer]:
        return await asyncio.gather(*(answer(made, "/", authorization=f"Bearer {TOKEN}") for _ in range(20)))

    assert {each.status for each in asyncio.run(looks())} == {200}
