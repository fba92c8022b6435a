"""Host process: the entry point that SharedEngine starts and that runs an EngineHost."""

from __future__ import annotations

import logging
import os
import pickle
import sys

from azaion_engine.cuda.context import begin_context

ON_GPU = "gpu"
"""Command-line argument: the engine may use a GPU."""


def main() -> None:
    """Reads (opener, path), pickled, from standard input; writes None or an error, pickled, to standard output."""
    # Detach: other clients outlive the parent. Before any CUDA call, because CUDA does not survive a fork.
    if os.fork():
        os._exit(0)
    os.setsid()
    if ON_GPU in sys.argv[1:]:
        begin_context()
    # Import late: the CUDA context is created meanwhile.
    from azaion_engine.engines.shared.host import EngineHost, that_travels
    from azaion_engine.system.interpreter import switch_threads_quickly

    try:
        opener, path = pickle.load(sys.stdin.buffer)
    except EOFError:  # the parent failed before it sent an opener
        os._exit(0)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="engine host %(process)d: %(message)s")
    switch_threads_quickly()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries' prints must not mix with the answer
    try:
        host = EngineHost(opener(), path)
    except Exception as error:
        answers.write(pickle.dumps(that_travels(error)))
        answers.close()
        raise
    answers.write(pickle.dumps(None))
    answers.close()
    host.serve()
    # Threads that wait for a client or for a GPU that hangs must not keep the process alive.
    logging.shutdown()
    os._exit(0)
