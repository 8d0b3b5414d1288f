"""Who may call: whoever shows the token. Health and reflection are open, so that load balancers and tools can look."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

OPEN = ("/grpc.health.v1.", "/grpc.reflection.")
"""Services that anybody may call; they tell nothing but that we are here and what can be called."""

_SCHEME = "bearer "


class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types of its own
    """Lets in only calls with `authorization: Bearer <token>`."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Pass the call on, or answer it with a refusal."""
        if handler_call_details.method.startswith(OPEN) or self._shows_token(handler_call_details):
            return await continuation(handler_call_details)
        return grpc.unary_unary_rpc_method_handler(_refuse)

    def _shows_token(self, call: Any) -> bool:
        for key, value in call.invocation_metadata:
            if key == "authorization" and isinstance(value, str) and value[: len(_SCHEME)].lower() == _SCHEME:
                # In constant time: how far a guess was right must not show.
                return hmac.compare_digest(value[len(_SCHEME) :].strip().encode(), self._token)
        return False


async def _refuse(request: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "this needs the controller's admin token")
