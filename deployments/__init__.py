"""The Ray Serve application; everything that knows of Ray lives here."""
