"""What each request leaves behind: record, metrics, log and traces."""
