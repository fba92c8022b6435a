"""The NVIDIA driver: contexts, graphs, memory and GPU properties; independent of TensorRT and pictures."""
