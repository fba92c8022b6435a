"""Access: who may use the service, with which key, and how much; knows no HTTP, and Ray in `ledger_actor` only."""
