"""The HTTP server of this process: uvicorn's, with limits of time, in front of every frontend."""
