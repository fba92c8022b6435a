"""What `azaion detect` does with pictures, videos and streams once its options are read."""
