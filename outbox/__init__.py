"""What leaves the installation: webhooks and mail, with leases, retries, signatures and receipts."""
