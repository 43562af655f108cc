"""`python -m app`: the service under uvicorn, with a shutdown in the right order.

On SIGTERM readiness becomes false while requests are still taken, so that balancers turn elsewhere; after APP_DRAIN_SECONDS the socket
closes, requests under way end, and the pools close last. A second signal ends the wait, a third the requests. Takes HOST and PORT from the environment.
"""

from __future__ import annotations

import asyncio
import os
from types import FrameType

import uvicorn

from .main import create_app


class Server(uvicorn.Server):
    """A server that drains before it stops."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn's own handler would raise the signal again after a clean end: the exit code would say that the process was killed.
        state = self.config.app.state  # type: ignore[union-attr]
        if state.draining:
            self.force_exit, self.should_exit = self.should_exit, True
            return
        state.draining = True
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, state.settings.drain_seconds, self.end)

    def end(self) -> None:
        self.should_exit = True


def main() -> None:
    config = uvicorn.Config(
        create_app(),
        host=os.environ.get("HOST", "127.0.0.1"),
        port=int(os.environ.get("PORT", "8000")),
        access_log=False,
        timeout_graceful_shutdown=20,
    )
    Server(config).run()


if __name__ == "__main__":
    main()
