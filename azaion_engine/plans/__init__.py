"""Plans on disk: the store, and the manifest beside each plan. `engines.tensorrt.build` builds plans."""
