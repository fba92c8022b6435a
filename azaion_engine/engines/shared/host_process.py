"""The process of an engine's host, from its first line: SharedEngine starts it, and it becomes an EngineHost."""

from __future__ import annotations

import logging
import os
import pickle
import sys

from azaion_engine.cuda.context import begin_context

ON_GPU = "gpu"
"""The argument that says that the engine will be on one."""


def main() -> None:
    """Takes (opener, path) pickled from the standard input; says None or an error, pickled, on the standard output."""
    # Out of the hands of whoever started it: the other clients outlive him. Before anything of CUDA, which survives no
    # fork.
    if os.fork():
        os._exit(0)
    os.setsid()
    if ON_GPU in sys.argv[1:]:
        begin_context()
    # All that follows takes half a second, and the GPU has its context meanwhile.
    from azaion_engine.engines.shared.host import EngineHost, that_travels
    from azaion_engine.system.interpreter import switch_threads_quickly

    try:
        opener, path = pickle.load(sys.stdin.buffer)
    except EOFError:  # there is nothing to open after all
        os._exit(0)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="engine host %(process)d: %(message)s")
    switch_threads_quickly()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        host = EngineHost(opener(), path)
    except Exception as error:
        answers.write(pickle.dumps(that_travels(error)))
        answers.close()
        raise
    answers.write(pickle.dumps(None))
    answers.close()
    host.serve()
    # Threads that still wait for a client, or for a GPU that hangs, must not keep the process.
    logging.shutdown()
    os._exit(0)
