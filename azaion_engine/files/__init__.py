"""Files: pictures as input, detections as output. Decoding is in `pictures`."""
