"""Pictures on the GPU: JPEG decoding in hardware and the letterbox kernel. It runs no network."""
