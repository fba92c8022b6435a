"""Running a deserialised plan: memory, lanes, streams and CUDA graphs. Building one is `build`."""
