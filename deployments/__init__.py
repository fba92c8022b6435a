"""The Ray Serve application; all code of the service that depends on Ray is here."""
