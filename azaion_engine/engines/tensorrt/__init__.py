"""TensorRT: the engine, the differences of its versions, what decides reuse. Plans on disk are `plans`."""
