"""Commands about a model file and the engines that are made from it."""
