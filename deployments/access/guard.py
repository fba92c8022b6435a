"""Guard: finds the key of a request, admits the request within the key's limits, and counts its pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token

from azaion_engine.errors import AzaionError
from deployments.access.caller import calling
from deployments.access.keys import Key
from deployments.access.keys_file import KeysFile
from deployments.access.quotas import Quotas
from deployments.errors import (
    DailyLimitError,
    KeyDisabledError,
    KeyExpiredError,
    RateLimitError,
    ShareLimitError,
    UnauthorizedError,
    status_of,
)

_TOOK_TOO_LONG = 504

current_admission: ContextVar[Admission | None] = ContextVar("current_admission", default=None)
"""The admission of the current request; None where no key is needed, and for requests without pictures."""


class _Holding:
    """What the requests of one key hold in this replica."""

    def __init__(self) -> None:
        self.requests = 0
        self.pictures = 0


class Guard:
    """The keys of one replica and their limits; used from one event loop."""

    def __init__(
        self, keys: KeysFile, max_queue: int, quotas: Quotas, model: str | Callable[[], str | None] | None = None
    ) -> None:
        """Creates a guard.

        Args:
            keys: The keys; `close` closes them.
            max_queue: Pictures that the replica holds at a time, of which a key may have a share.
            quotas: Rate and daily number of every key.
            model: Name of the model behind it, where several are served, or what returns that of the current request;
                None: any key is for it.
        """
        self._keys = keys
        self._model = model
        self._max_queue = max_queue
        self._quotas = quotas
        self._held: dict[str, _Holding] = {}

    def key_of(self, authorization: str, api_key: str) -> Key:
        """Returns the key of a request.

        Args:
            authorization: The Authorization header; looked at if its scheme is Bearer.
            api_key: The X-API-Key header, looked at otherwise; either is empty if there is none.

        Raises:
            UnauthorizedError: There is no key, or an unknown one.
        """
        scheme, _, token = authorization.partition(" ")
        secret = token.strip() if scheme.lower() == "bearer" else api_key.strip()
        if not secret:
            raise UnauthorizedError("a key is needed: send `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        key = self._keys.find(secret)
        if key is None:
            raise UnauthorizedError("the key is unknown here")
        return key

    async def admit(self, key: Key, pictures: bool) -> AbstractContextManager[Admission | None]:
        """Admits a request; of one with pictures it counts the first.

        Args:
            key: Its key.
            pictures: Whether it carries pictures, which count in the key's limits.

        Returns:
            What to enter for the request's duration, whose key it is then (`caller`); it gives the admission of a
            request with pictures.

        Raises:
            KeyDisabledError: The key is switched off.
            KeyExpiredError: Its time is over.
            ModelForbiddenError: It is for other models.
            ShareLimitError: The key has its share of the queue, or twice as many requests in this replica.
            RateLimitError: More pictures a second than the key may send.
            DailyLimitError: More pictures today than the key may send.
        """
        if not key.enabled:
            raise KeyDisabledError(f"the key {key.name!r} is switched off")
        if key.expired():
            raise KeyExpiredError(f"the key {key.name!r} expired at {key.expires:%Y-%m-%d %H:%M:%S %Z}")
        model = self._model() if callable(self._model) else self._model
        if model is not None:
            key.refuse_forbidden(model)
        if not pictures:
            return calling(key)
        holding = self._held.setdefault(key.name, _Holding())
        most = self._most(key)
        # Twice, as of all bodies that may arrive: an arriving body needs no engine.
        if most is not None and (holding.pictures >= most or holding.requests >= 2 * most):
            raise _share_error(key, most)
        if key.limits is not None:
            holding.requests += 1  # also while the quotas are asked
            try:
                refusal = await self._quotas.take(key.name, key.limits)
            finally:
                holding.requests -= 1
            if refusal is not None and refusal.daily:
                raise DailyLimitError(
                    f"the key {key.name!r} has sent its {key.daily} pictures of today (UTC)", math.ceil(refusal.wait_s)
                )
            if refusal is not None:
                raise RateLimitError(
                    f"the key {key.name!r} may send {key.rate:g} pictures a second; try again later",
                    max(1, math.ceil(refusal.wait_s)),
                )
        return _entered(Admission(key, holding, most, self._quotas))

    def close(self) -> None:
        """Ends the watch over the keys."""
        self._keys.close()

    def _most(self, key: Key) -> int | None:
        return None if key.share is None else max(1, int(key.share * self._max_queue))


class Admission:
    """One admitted request with pictures; a context manager around its answer.

    Attributes:
        key: The request's key.
    """

    def __init__(self, key: Key, holding: _Holding, most: int | None, quotas: Quotas) -> None:
        self.key = key
        self._holding = holding
        self._most = most
        self._quotas = quotas
        self._prepaid = 1
        self._charged = 1
        self._token: Token[Admission | None] | None = None

    @contextmanager
    def picture(self) -> Iterator[None]:
        """Counts a picture of the request and holds its place in the key's share of the queue.

        Raises:
            ShareLimitError: The key has its share of the queue.
        """
        if self._most is not None and self._holding.pictures >= self._most:
            raise _share_error(self.key, self._most)
        if self._prepaid:
            self._prepaid = 0
        else:
            self._charge(1)
        self._holding.pictures += 1
        try:
            yield
        finally:
            self._holding.pictures -= 1

    def ended(self, status: int) -> None:
        """Gives back what was counted if the service failed, not the client.

        A picture that took too long stays counted: its tiles may have kept the engine busy for all that time, and a key
        that never ran out of such pictures would have no limit.

        Args:
            status: HTTP status of the answer.
        """
        if status >= 500 and status != _TOOK_TOO_LONG:
            self._charge(-self._charged)

    def __enter__(self) -> Admission:
        self._holding.requests += 1
        self._token = current_admission.set(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        assert self._token is not None
        current_admission.reset(self._token)
        self._holding.requests -= 1
        if isinstance(error, Exception):
            self.ended(status_of(error) if isinstance(error, AzaionError) else 500)

    def _charge(self, pictures: int) -> None:
        self._charged += pictures
        if self.key.limits is not None:
            self._quotas.charge(self.key.name, pictures)


@contextmanager
def _entered(admission: Admission) -> Iterator[Admission]:
    with calling(admission.key), admission:
        yield admission


def _share_error(key: Key, most: int) -> ShareLimitError:
    return ShareLimitError(f"the key {key.name!r} has its share of the queue ({most} pictures); try again later")
