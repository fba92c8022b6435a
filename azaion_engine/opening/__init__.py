"""Opening: chooses and opens the engine of a model on this machine; TensorRT's plan is built once and kept."""
