"""An MCP server of a shop: over standard input and output, or in the process of a test.

Its payments are lines of the file that MCP_SHOP_LEDGER names. An amount of 13 kills it after it has paid, one of 14
makes it say that it failed, and after 15 it is slow to answer.
"""

import os
from collections.abc import Callable
from pathlib import Path

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

from plimsoll.core.clock import SystemClock

__all__ = ["shop_server"]


def shop_server(ledger: Path, *, die: Callable[[], None] = lambda: os._exit(3)) -> MCPServer:
    """The server. `die` is what ends it."""
    server = MCPServer("shop", instructions="Be kind.", log_level="CRITICAL")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def look(order: str) -> dict[str, float]:
        """Looks an order up."""
        if order == "lost":
            raise ValueError("no such order")
        return {"paid": 100.0}

    @server.tool()
    async def refund(order: str, amount: float) -> str:
        """Pays money back."""
        with ledger.open("a") as file:
            file.write(f"{order} {amount}\n")
        if amount == 13:
            die()
        if amount == 14:
            raise ValueError("it broke down after it had paid")
        if amount == 15:
            await SystemClock().sleep(600.0)
        return f"refunded {amount}"

    @server.tool(annotations=ToolAnnotations(idempotent_hint=True))
    async def remember(order: str) -> str:
        """Notes an order."""
        return order

    return server


if __name__ == "__main__":
    shop_server(Path(os.environ["MCP_SHOP_LEDGER"])).run()
