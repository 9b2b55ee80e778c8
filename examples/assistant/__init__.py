"""A customer-service assistant of a small web shop, and the shop: its data, its rules and its ledger."""
