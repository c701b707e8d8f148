"""The operator's page: its routes, and who may see them. Read-only.

`routes` belong into an application whose state has a `collector` (`Collector`) and the `settings` (OpsSettings).
"""

from collections.abc import Mapping
from http import HTTPStatus
from time import time
from typing import Any, Final, Protocol

from litestar import Request, get
from litestar.datastructures import State
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from config.ops_settings import OpsSettings
from ops.history import History
from ops.lookup import look_up
from ops.page_access import CHALLENGE, Access, access
from ops.page_render import assets, rendered
from ops.page_view import Standards, view
from ops.page_wallet import wallet_view
from ops.picture import Picture

HTML: Final = "text/html"  # the framework adds the encoding
HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    # Nothing comes from elsewhere, and nothing is sent there. `connect-src`: the page fetches itself anew.
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_KEPT: Final = "public, max-age=31536000, immutable"


class Collector(Protocol):
    """What the page needs of whoever makes the passes."""

    @property
    def last(self) -> Picture | None:
        """What the last pass found, however long ago; None: none has ended yet."""

    @property
    def history(self) -> History:
        """The ages of the last hours."""


def check_access(request: Request[Any, Any, State]) -> ASGIResponse | None:
    """What comes before a handler of the page. None: the request may go on."""
    settings: OpsSettings = request.app.state.settings
    token = settings.ops_token.get_secret_value() if settings.ops_token else None
    given = [value for name, value in request.scope["headers"] if name == b"authorization"]
    match access(token, given):
        case Access.GRANTED:
            return None
        case Access.CLOSED:
            return _html("closed.html.jinja", HTTPStatus.FORBIDDEN)
        case Access.REFUSED:
            return _html("refused.html.jinja", HTTPStatus.UNAUTHORIZED, {"www-authenticate": CHALLENGE})


@get("/", include_in_schema=False, before_request=check_access)
async def page(state: State) -> ASGIResponse:
    """The state of all networks."""
    collector: Collector = state.collector
    settings: OpsSettings = state.settings
    shown = view(collector.last, collector.history, time(), _standards(settings))
    return _html("page.html.jinja", HTTPStatus.OK, view=shown, interval=settings.collect_interval)


@get("/find", include_in_schema=False, before_request=check_access, sync_to_thread=True)
def find(request: Request[Any, Any, State]) -> ASGIResponse:
    """What is known of the wallets that somebody looks for."""
    settings: OpsSettings = request.app.state.settings
    found = look_up(request.query_params.get("q", ""))
    wallets = [wallet_view(each, lease=settings.sync_lease) for each in found.wallets]
    return _html("find.html.jinja", HTTPStatus.OK, found=found, wallets=wallets, now=time())


@get("/static/{name:str}", include_in_schema=False)
async def static(name: FromPath[str]) -> ASGIResponse:
    """The style and the script: no secret, and the same for everybody."""
    asset = assets().get(name)
    if asset is None:
        return ASGIResponse(status_code=HTTPStatus.NOT_FOUND, headers=dict(HEADERS))
    return ASGIResponse(body=asset.body, media_type=asset.media_type, headers={**HEADERS, "cache-control": _KEPT})


routes = [page, find, static]


def _standards(settings: OpsSettings) -> Standards:
    return Standards(lease=settings.sync_lease, interval=settings.collect_interval, ticks=settings.dispatch_interval)


def _html(template: str, status: HTTPStatus, headers: Mapping[str, str] | None = None, **values: Any) -> ASGIResponse:
    body = rendered(template, **values)
    return ASGIResponse(body=body, media_type=HTML, status_code=status, headers={**HEADERS, **(headers or {})})
