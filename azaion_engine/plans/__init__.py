"""Plans on disk: the store, and the manifest beside each plan. Building plans is `engines.tensorrt.build`."""
