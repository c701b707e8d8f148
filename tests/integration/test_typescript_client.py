"""A client for TypeScript is generated from the OpenAPI document, and gets what the README prints.

It repeats `networks` where it names several, as its library does by default.
"""

import os
import subprocess
from pathlib import Path

import pytest
from endpoint import Endpoint
from printed import EXAMPLES, printed, reading

from devstack.seed import USER
from devstack.servers import CAP, ROOT

PROGRAMS = ROOT / "node_modules" / ".bin"
CLIENT = """
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";
declare const process: { argv: string[] };

const [url, token, user] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });
const path = { user_id: user };
type Query = paths["/api/v1/auth/balances/user/{user_id}"]["get"]["parameters"]["query"];

function ask(query: Query, headers: Record<string, string> = {}) {
    return client.GET("/api/v1/auth/balances/user/{user_id}", { params: { path, query }, headers });
}

const queries: Query[] = [{}, { networks: ["tron"], refresh: true }, { networks: ["tron", "tron"], detail: "full" }];
for (const query of queries) {
    const { data } = await ask(query);
    const balances: components["schemas"]["UserBalances"] | components["schemas"]["UserBalancesInFull"] = data!;
    const total: string = balances.total_usdt;
    const first: string | null = balances.balances[0]!.usdt_balance;
    if (total !== first) throw new Error("the total is that of the only wallet with USDT");
    console.log(JSON.stringify(balances));
}
const first = await ask({});
const again = await ask({}, { "If-None-Match": first.response.headers.get("ETag")! });
console.log(again.response.status);
// @ts-expect-error: the types know the networks
const wrong = await ask({ networks: ["doge"] });
console.log(JSON.stringify(wrong.error satisfies components["schemas"]["ProblemDetails"] | undefined));
"""


def run(folder: Path, *command: str | Path) -> str:
    """What a program prints; its complaints where it fails."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=CAP, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.skipif(
    not (PROGRAMS / "openapi-typescript").exists(), reason="node_modules is older than package-lock.json: run `make`"
)
def test_a_typescript_client_generated_from_the_document_gets_what_the_readme_prints(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.read_all()
    (tmp_path / "document.json").write_text(endpoint.get(path="/openapi.json", headers={}).text)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "client.ts").write_text(CLIENT)
    (tmp_path / "node_modules").symlink_to((ROOT / "node_modules").resolve())
    run(tmp_path, PROGRAMS / "openapi-typescript", "document.json", "--output", "schema.d.ts")
    strict = ["--strict", "--noUncheckedIndexedAccess", "--target", "es2022", "--lib", "es2022,dom"]
    run(tmp_path, PROGRAMS / "tsc", *strict, "--module", "nodenext", "client.ts")
    token = endpoint.authorization["Authorization"].partition(" ")[2]
    with reading(endpoint):
        told = run(tmp_path, "node", "client.js", endpoint.server.url, token, str(USER))
    assert list(map(printed, told.splitlines())) == [printed(expected) for _, expected in EXAMPLES]
