"""Running an engine: memory, lanes, streams and CUDA graphs. Plans are built in `build`."""
