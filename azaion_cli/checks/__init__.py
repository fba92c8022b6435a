"""What `azaion doctor` checks."""
