"""`plimsoll gateway`: OpenAI's interface over HTTP in front of a contract's models, and its tenants' keys."""

import asyncio
import importlib
import logging
from pathlib import Path
from typing import Any

import click

from plimsoll.cli.command import Command
from plimsoll.cli.journal_access import CONTRACT
from plimsoll.contract.loading import load_contract, resolve_path
from plimsoll.contract.model import Contract
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.runtime.local import local

__all__ = ["gateway"]


contract_option = click.option(
    "--contract",
    "contract_path",
    type=click.Path(path_type=Path),
    help="The gateway's contract.  [default: plimsoll.toml]",
)


@click.group(invoke_without_command=True)
@contract_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="The port; 0: any.")
@click.pass_context
def gateway(ctx: click.Context, contract_path: Path | None, host: str, port: int) -> None:
    """Answers OpenAI's interface over HTTP by the contract's models, with all their protections.

    An agent in any language is protected by changing its base URL to
    http://HOST:PORT/v1, and its key to one of `plimsoll gateway keys add`.

    \b
    Examples:
      plimsoll gateway keys add team-a
      plimsoll gateway --contract plimsoll.toml --port 8080
    """
    ctx.obj = contract_path or CONTRACT
    if ctx.invoked_subcommand is None:
        command = Command("gateway", callback=_served, if_interrupted="The gateway has ended.")
        inner = click.Context(command, parent=ctx)
        inner.params = {"contract_path": ctx.obj, "host": host, "port": port}
        command.invoke(inner)


def _served(contract_path: Path, host: str, port: int) -> None:
    contract = load_contract(contract_path)
    leaf: Any = importlib.import_module("plimsoll.services.gateway")
    if not _key_file(contract, contract_path).tenants():
        raise Misuse("no tenant has a key, so nobody could ask: `plimsoll gateway keys add TENANT` makes one")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)

    async def session() -> None:
        surroundings = local(contract, directory=contract_path.parent)
        try:
            app = leaf.create_gateway(contract, surroundings=surroundings, directory=contract_path.parent)
        except BaseException:
            await surroundings.store.close()
            raise
        await leaf.serve(app, store=surroundings.store, host=host, port=port)

    asyncio.run(session())


def _opened(contract_path: Path) -> Any:
    return _key_file(load_contract(contract_path), contract_path)


def _key_file(contract: Contract, contract_path: Path) -> Any:
    if contract.gateway is None:
        raise Misuse(f"{contract_path} has no [gateway]: docs/gateway.md shows one")
    tenants: Any = importlib.import_module("plimsoll.services.gateway.tenants")
    return tenants.KeyFile(resolve_path(contract.gateway.keys, contract_file=contract_path))


@gateway.group()
def keys() -> None:
    """The keys of the gateway's tenants.

    \b
    Examples:
      plimsoll gateway keys add team-a
      plimsoll gateway keys list
      plimsoll gateway keys remove team-a
    """


@keys.command(cls=Command)
@contract_option
@click.argument("tenant")
@click.pass_obj
def add(of_group: Path, contract_path: Path | None, tenant: str) -> None:
    """Makes a key for TENANT, and prints it once: what is kept is its hash.

    Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll gateway keys add team-a
    """
    key = _opened(contract_path or of_group).add(tenant, at=SystemClock().now())
    click.echo(key)
    click.echo(f"This is the key of {tenant}. It is not shown again.", err=True)


@keys.command("list", cls=Command)
@contract_option
@click.pass_obj
def list_keys(of_group: Path, contract_path: Path | None) -> None:
    """Shows which tenants have keys, and how many.

    Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll gateway keys list
    """
    for tenant, count in sorted(_opened(contract_path or of_group).tenants().items()):
        click.echo(f"{tenant}  {count} key{'' if count == 1 else 's'}")


@keys.command(cls=Command)
@contract_option
@click.argument("tenant")
@click.pass_obj
def remove(of_group: Path, contract_path: Path | None, tenant: str) -> None:
    """Takes all keys of TENANT away. A gateway that runs heeds it with the next request.

    Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll gateway keys remove team-a
    """
    count = _opened(contract_path or of_group).remove(tenant)
    if not count:
        raise Misuse(f"{tenant} has no key; `plimsoll gateway keys list` shows who has")
    click.echo(f"{count} key{'' if count == 1 else 's'} of {tenant} taken away.")
