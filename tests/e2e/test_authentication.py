"""kubectl with tokens of an OpenID Connect issuer, and with certificates that nobody knows, against an API server."""

import asyncio
import json
import subprocess
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from tests.e2e.test_components import MASTERS, start_api_server
from tests.e2e.test_kubectl import wait_until
from tests.unit.server.authn.issuer import Issuer, issuer
from tests.unit.server.authn.test_jwt import document
from wherry.aio.clock import SystemClock
from wherry.cluster.pki import Pki


def kubectl(pki: Pki, server: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["kubectl", "--kubeconfig=/dev/null", f"--server={server}", f"--certificate-authority={pki.ca.cert}"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)


def scenario(directory: Path, op: Issuer) -> None:
    pki, stranger = Pki(directory / "pki", SystemClock()), Pki(directory / "stranger", SystemClock())
    config = directory / "authentication"
    config.write_bytes(document(op.url))
    with ExitStack() as stack:
        proxies = {"requestheader_client_ca_file": pki.front_proxy_ca.cert, "requestheader_allowed_names": "proxy"}
        server = start_api_server(stack, pki, directory, authentication_config=config, **proxies)
        end = int((SystemClock().now() + timedelta(hours=1)).timestamp())

        def who(**claims: str) -> str:
            token = op.token(claims, exp=end)
            answer = kubectl(pki, server, f"--token={token}", "auth", "whoami", "-o", "json")
            return str(json.loads(answer.stdout)["status"]["userInfo"]["username"]) if not answer.returncode else ""

        assert who(sub="ann") == "oidc:ann"
        assert kubectl(pki, server, "--token=nonsense", "get", "--raw=/api").stderr == (
            "error: You must be logged in to the server (Unauthorized)\n"
        )
        pair = stranger.client("eve", "eve", MASTERS)
        shown = (f"--client-certificate={pair.cert}", f"--client-key={pair.key}")
        refused = kubectl(pki, server, *shown, "get", "--raw=/api")
        assert refused.stderr == "error: You must be logged in to the server (Unauthorized)\n"
        config.write_bytes(document(op.url, mappings={"username": {"claim": "sub", "prefix": "changed:"}}))
        wait_until(lambda: who(sub="bob") == "changed:bob", 30)


async def test_who_asks_is_known_by_issuers_that_may_change(tmp_path: Path) -> None:
    async with issuer() as op:
        await asyncio.to_thread(scenario, tmp_path, op)
