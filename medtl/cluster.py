"""A Dask scheduler that a command names: ``--dask ADDRESS``."""

import asyncio
import importlib.util
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from medtl.errors import MedtlError, UsageError, debugging
from medtl.files import parse_json

if TYPE_CHECKING:
    from distributed import Client

ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]]+):\d{1,5}")
EXPECTED = "tcp://HOST:PORT, tls://HOST:PORT or the .json file that dask scheduler --scheduler-file writes"
REACH_SECONDS = 8.0  # for the scheduler to answer


def address(word: str | None) -> str | None:
    """Return the scheduler's address that ``--dask`` names, itself or by a scheduler file; None for None.

    Raises:
        UsageError: it names none, or Dask is not installed.
    """
    if word is None:
        return None
    if importlib.util.find_spec("distributed") is None:
        raise UsageError("--dask needs distributed: pip install 'medtl[dask]' -c constraints.txt")
    named = word
    if word.endswith(".json"):
        try:
            named = parse_json(Path(word).read_text(encoding="utf-8"))["address"]
        except FileNotFoundError:
            raise UsageError(f"--dask {word}: no such file; expected {EXPECTED}") from None
        except (OSError, ValueError, KeyError, TypeError):
            raise UsageError(f"--dask {word} names no scheduler; expected {EXPECTED}") from None
    if not isinstance(named, str) or not ADDRESS.fullmatch(named):
        raise UsageError(f"--dask {word} is no address of a scheduler; expected {EXPECTED}")
    return named


@contextmanager
def connected(scheduler: str) -> Iterator["Client"]:
    """Yield a client of the scheduler at an address.

    Raises:
        MedtlError: it does not answer within seconds, or is no scheduler.
    """
    from distributed import Client

    if not debugging():
        for name in ("distributed", "distributed.client"):  # what goes wrong is told in a line
            logging.getLogger(name).setLevel(logging.CRITICAL)
    role = asyncio.run(_role(scheduler))
    if role != "Scheduler":
        raise MedtlError(
            f"--dask {scheduler}: {f'a {role}, not a scheduler,' if role else 'no Dask scheduler'} answers there"
        )
    client = Client(scheduler, timeout=REACH_SECONDS)
    try:
        yield client
    finally:
        client.close()


async def _role(scheduler: str) -> str | None:
    """What listens at an address: "Scheduler", "Worker" …; None for a stranger.

    Raises:
        MedtlError: nothing does.
        UsageError: encryption is asked for, but Dask has no certificates.
    """
    from distributed import Security, rpc

    security = Security().get_connection_args("client")
    if scheduler.startswith("tls://") and not security["ssl_context"]:
        raise UsageError(
            f"--dask {scheduler} needs certificates: name them in Dask's configuration (distributed.comm.tls)"
        )
    try:
        async with rpc(scheduler, timeout=REACH_SECONDS, connection_args=security) as there:
            identity = await asyncio.wait_for(there.identity(), REACH_SECONDS)
    except OSError:
        raise MedtlError(
            f"--dask {scheduler}: no scheduler answers within {REACH_SECONDS:g} s; is dask scheduler running there?"
        ) from None
    except Exception:  # a stranger's bytes can stand for anything
        return None
    return identity.get("type") if isinstance(identity, dict) else None
