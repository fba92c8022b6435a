"""JPEGs decoded by OpenCV, and whether their scans are whole, which libjpeg does not tell."""
