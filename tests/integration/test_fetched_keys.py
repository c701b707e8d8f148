"""The endpoint with the keys of a provider, which goes away."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from endpoint import ENV

from config import key_fetching as keys
from devstack.product import api
from devstack.seed import USER
from devstack.servers import CAP, Server, wait_for

ROUTE = f"/api/v1/auth/balances/user/{USER}"
CLAIMS = {"sub": str(USER), "aud": "us", "exp": 9_000_000_000}
TAKEN = (200, None)
INVALID = (401, "The token is not valid here.")
EXPIRED = (401, "The token has expired.")


class Provider:
    """A provider of keys on the network, which can be away."""

    def __init__(self) -> None:
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.away = False
        self.asked = 0

    def published(self) -> bytes:
        algorithm = jwt.algorithms.ECAlgorithm
        entries = [{**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid} for kid, key in self.keys.items()]
        return json.dumps({"keys": entries}).encode()

    def token(self, kid: str, **more: Any) -> str:
        key = self.keys.get(kid) or ec.generate_private_key(ec.SECP256R1())
        return jwt.encode({**CLAIMS, **more}, key, "ES256", headers={"kid": kid})

    @contextmanager
    def serving(self) -> Iterator[str]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                self.send_response(500 if provider.away else 200)
                self.end_headers()
                self.wfile.write(provider.published())

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
            Thread(target=listening.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{listening.server_address[1]}/keys"
            listening.shutdown()


def test_tokens_are_checked_with_a_providers_keys_and_go_on_to_be_while_it_is_away(
    database_url: str, redis_process: Server, tmp_path: Path
) -> None:
    provider = Provider()
    provider.keys["one"] = ec.generate_private_key(ec.SECP256R1())
    env = {name: value for name, value in ENV.items() if name != "JWT_SECRET"}
    env |= {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_process.url,
        "JWT_ALGORITHMS": "ES256",
        "JWT_AUDIENCE": "us",
    }
    with provider.serving() as url, api(tmp_path, {**env, "JWT_JWKS_URL": url}) as server:

        def answer(token: str) -> tuple[int, str | None]:
            headers = {"Authorization": f"Bearer {token}"}
            response = requests.get(server.url + ROUTE, headers=headers, timeout=CAP)
            return response.status_code, response.json().get("detail")

        wait_for(lambda: provider.asked == 1, server, what="the keys to be fetched before the first request")
        wait_for(lambda: answer(provider.token("one"))[0] == 200, server, what="the keys to be known")
        provider.away = True
        before = provider.asked
        for number in range(50):
            assert answer(provider.token("one", jti=str(number))) == TAKEN
            assert answer(provider.token(f"unknown-{number}")) == INVALID
        assert provider.asked < before + 25, "a provider is not asked at each unknown key"
        of_another = jwt.encode(CLAIMS, ec.generate_private_key(ec.SECP256R1()), "ES256", headers={"kid": "one"})
        assert answer(of_another) == INVALID
        assert answer(jwt.encode(CLAIMS, "s" * 32, "HS256", headers={"kid": "one"})) == INVALID
        assert answer(jwt.encode(CLAIMS, provider.keys["one"], "ES256", headers={"kid": "one"})) == TAKEN, "their twin"
        assert answer(provider.token("one", exp=1)) == EXPIRED


@contextmanager
def answering(body: bytes, status: int = 200, **headers: str) -> Iterator[str]:
    """The address of a server that says this to whoever asks."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # whoever has read enough goes away
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}/keys"
        listening.shutdown()


def test_a_set_of_keys_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"keys": []}'
    with answering(body) as url:
        monkeypatch.setattr(keys, "MAX_SET_BYTES", len(body))
        assert keys.Provider(url).fetch_data() == {"keys": []}
        monkeypatch.setattr(keys, "MAX_SET_BYTES", len(body) - 1)
        with pytest.raises(ValueError, match="too large"):
            keys.Provider(url).fetch_data()


def test_a_provider_leads_nobody_elsewhere() -> None:
    with answering(b'{"keys": []}') as elsewhere, answering(b"", 302, Location=elsewhere) as url:
        with pytest.raises(HTTPError) as refused:
            keys.Provider(url).fetch_data()
        assert refused.value.code == 302
