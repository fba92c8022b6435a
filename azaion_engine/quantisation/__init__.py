"""Quantisation: an ONNX detector → the same with Q/DQ nodes (INT8, FP8), and how far its answers differ."""
