"""A name for each request, in the log and in the answer."""

import logging
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apex_pipeline.log_lines import REQUEST_ID

logger = logging.getLogger(__name__)

HEADER = "X-Request-ID"


class RequestIds:
    """Names each request; what a client sends under this name is not believed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        name = uuid4().hex

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = name
            await send(message)

        token = REQUEST_ID.set(name)
        try:
            await self._app(scope, receive, named)
        except ClientDisconnect:
            # The client is gone. A traceback would let any client fill the log.
            logger.debug("the client left before its request was whole")
        finally:
            REQUEST_ID.reset(token)
