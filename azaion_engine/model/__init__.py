"""The ONNX file: its bytes, its tensors and its class names. Running it is `engines`."""
