"""What runs a detector: the contract of every engine, and ONNX Runtime; `tensorrt` and `shared` are the other two."""
