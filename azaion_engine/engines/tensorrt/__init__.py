"""TensorRT: the engine, the differences between versions, the reuse of plans. Plans on disk are in `plans`."""
