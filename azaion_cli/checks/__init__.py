"""What `azaion doctor` checks, and `azaion serve` before it starts."""
