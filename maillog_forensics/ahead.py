"""Work done ahead: pieces of work on several threads, their results in order."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


def ahead(work: Iterator[Callable[[], _T]], workers: int | None = None) -> Iterator[_T]:
    """What each piece of work gives, in order.

    Parameters
    ----------
    work
        Asked for its next piece while others run; one piece at a time.
    workers
        Threads; as many as there are processors when None. No more pieces than that, and one, are under way.
    """
    workers = workers or os.cpu_count() or 1
    first, second = next(work, None), next(work, None)
    if first is None or second is None:
        yield from (call() for call in filter(None, (first,)))
        return
    under_way: deque[Future[_T]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="ahead") as pool:
        for call in itertools.chain((first, second), work):
            under_way.append(pool.submit(call))
            if len(under_way) > workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
