SELECT LEAST(CEIL(COALESCE(SUM(rows), 0) / ROWS_PER_WORKER.0), COUNT(*)) FROM batches WHERE state IN ('queued', 'running')
