"""The Open Inference Protocol (KServe v2) over HTTP and gRPC, with the extensions that Triton's clients use."""
