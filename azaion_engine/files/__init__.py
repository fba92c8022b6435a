"""Files of pictures as input, files of detections as output. Decoding is `pictures`."""
