"""The ONNX file: its bytes, its tensors and its class names. `engines` runs it."""
