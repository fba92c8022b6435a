"""Engines that run a detector: the common interface and ONNX Runtime; `tensorrt` and `shared` contain the others."""
