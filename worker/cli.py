"""The admin commands under ``celery -A worker``. Shells: what they do is in other modules, loaded when called."""

import json
import sys
from dataclasses import asdict
from typing import Any

import click


@click.command(help="Verify the whole configuration against reality, before anything is started.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines, for scripts.")
@click.option("--without-endpoint", is_flag=True, help="Leave out the settings that only the HTTP endpoint needs.")
def check(*, as_json: bool, without_endpoint: bool, **_: Any) -> None:
    from config.settings import worker_settings
    from worker.check import findings

    found = []
    for finding in findings(worker_settings(), with_endpoint=not without_endpoint):
        found.append(finding)
        if not as_json:
            mark = click.style("ok  ", fg="green") if finding.ok else click.style("FAIL", fg="red", bold=True)
            click.echo(f"{mark}  {finding.subject}: {finding.detail}")
            if not finding.ok:
                click.echo(f"      → {finding.to_do}")
    failed = sum(not finding.ok for finding in found)
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [{"ok": each.ok, **asdict(each)} for each in found]}))
    else:
        click.echo(f"{failed} of {len(found)} checks failed." if failed else f"All {len(found)} checks passed.")
    sys.exit(1 if failed else 0)
