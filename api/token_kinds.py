"""Whether a token was made for APIs. Pure. Its signature, issuer and audience say nothing of that.

A provider signs other kinds of tokens with the same keys: ID tokens, which tell a program who has logged in and pass
through many hands; refresh tokens, which live for months; messages of log-outs. What marks them differs:

- the header ``typ``: RFC 9068 has ``at+jwt`` for access tokens, most makers ``JWT``, others nothing; every other kind
  that a standard defines has a value of its own (RFC 8725 §3.11). So the three are let in, and no other;
- the claims ``typ`` of Keycloak (``Bearer``, ``ID``, ``Refresh``, ``Offline``, ``Logout``) and ``token_use`` of Cognito
  (``access``, ``id``): what is not an access token's is refused;
- the claims ``token_type`` and ``type``: libraries put ``refresh`` there, others anything else: that alone is refused;
- the claims ``at_hash`` and ``c_hash`` (OpenID Connect Core §3.3.2.11) are in ID tokens alone: no token holds its own
  hash. ``events`` (RFC 8417) is in messages. ``nonce`` proves nothing: older Keycloaks put it into access tokens too.
"""

from collections.abc import Mapping
from typing import Any

_HEADER_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_ALLOWED = {"typ": frozenset({"bearer", "jwt", "at+jwt", "access"}), "token_use": frozenset({"access"})}
_REFUSED = {"token_type": frozenset({"refresh", "id"}), "type": frozenset({"refresh", "id"})}
_OF_OTHER_KINDS = frozenset({"at_hash", "c_hash", "events"})


def is_access_token(header: Mapping[str, Any], claims: Mapping[str, Any]) -> bool:
    """Whether nothing in a token's header and claims marks it as another kind."""
    return (
        ("typ" not in header or _word(header["typ"]) in _HEADER_TYPES)
        and all(name not in claims or _word(claims[name]) in words for name, words in _ALLOWED.items())
        and not any(_word(claims.get(name)) in words for name, words in _REFUSED.items())
        and _OF_OTHER_KINDS.isdisjoint(claims)
    )


def _word(value: object) -> str | None:
    """In small letters; None if it is no text."""
    return value.lower() if isinstance(value, str) else None
