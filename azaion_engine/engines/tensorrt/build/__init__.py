"""ONNX to plan: the builder, its progress and its precision. Nothing here runs an engine."""
