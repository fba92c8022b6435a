"""The NVIDIA driver: contexts, graphs, memory, and which GPU this is. Nothing here knows of TensorRT or pictures."""
