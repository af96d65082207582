"""The times of cron expressions, fires that submit executions, backfills."""
