"""The one service that pods need: `kubernetes`, at its own address, forwarded to the API server on 127.0.0.1."""

from __future__ import annotations

import argparse
import asyncio
import contextlib

__all__ = ["forward"]


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Bytes from one side to the other, to their end."""
    with contextlib.suppress(OSError):
        while content := await source.read(65536):
            target.write(content)
            await target.drain()
    target.close()


async def forward(address: str, port: int, to: int) -> None:
    """Serve until cancelled."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

    server = await asyncio.start_server(accept, address, port)
    await server.serve_forever()


def main() -> None:
    """Run until stopped."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("address")
    options.add_argument("port", type=int)
    options.add_argument("to", type=int)
    given = options.parse_args()
    asyncio.run(forward(given.address, given.port, given.to))


if __name__ == "__main__":
    main()
