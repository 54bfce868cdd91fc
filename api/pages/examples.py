"""One command for each operation of the API, to paste into a shell. tests/api/pages/test_reference.py runs them all."""

from __future__ import annotations

from typing import Final

_JOB: Final = '"$API/v1/jobs/$JOB'

# By operation id. $API is the server; $JOB, $FILE and $BATCH are ids from earlier answers.
EXAMPLES: Final = {
    "create_job": """\
curl -sS $API/v1/jobs -H 'Content-Type: application/json' -H 'Idempotency-Key: sentences-1' \\
    -d '{"embedding_dim": 384, "name": "sentences", "labels": {"team": "search"}}'""",
    "list_jobs": 'curl -sS "$API/v1/jobs?state=running&label=team=search&limit=10"',
    "estimate_job": """\
curl -sS $API/v1/jobs:estimate -H 'Content-Type: application/json' -d '{"embedding_dim": 384, "rows": 20000}'""",
    "read_job": f"curl -sS {_JOB}\" -H 'Prefer: wait=60'",
    "remove_job": f'curl -sS -X DELETE {_JOB}"',
    "read_events": f'curl -sSN {_JOB}/events"',
    "read_webhook": f'curl -sS {_JOB}/webhook"',
    "seal_job": f"""\
curl -sS {_JOB}/seal" -H 'Content-Type: application/json' -d '{{"batches": 1, "rows": 1}}'""",
    "cancel_job": f'curl -sS -X POST {_JOB}/cancel"',
    "retry_job": f'curl -sS -X POST {_JOB}/retry"',
    "put_batch": f"""\
python3 -c "
import random, struct, sys
row = [random.gauss(0, 1) for _ in range(384)]
sys.stdout.buffer.write(struct.pack('<384f', *row))" > rows.f32
curl -sS -X PUT {_JOB}/batches/0?first_index=0&dtype=float32" \\
    -H 'Content-Type: application/octet-stream' --data-binary @rows.f32""",
    "read_batch": f'curl -sS {_JOB}/batches/0"',
    "post_batches": f"""\
curl -sS {_JOB}/batches" -H 'Content-Type: application/json' -d '{{
  "file": {{"uri": "file:///data/corpora/a.parquet", "size": 316220113, "version": "mtime:1764062591000000000",
           "column": "embedding"}},
  "batches": [{{"ordinal": 0, "first_index": 0, "group": 0, "start": 0, "rows": 1024}}]
}}'""",
    "list_batches": f'curl -sS {_JOB}/batches?limit=100"',
    "read_results": f'curl -sS {_JOB}/results?order=index&limit=10"',
    "read_errors": f'curl -sS {_JOB}/errors?format=csv"',
    "download_results": f'curl -sS {_JOB}/download?format=parquet" -o rows.parquet',
    "list_decoders": "curl -sS $API/v1/decoders",
    "read_decoder": "curl -sS $API/v1/decoders/ret-v21-minilm",
    "upload_file": """\
python3 -c "
import json, random
row = [random.gauss(0, 1) for _ in range(384)]
body = {'model': 'ret-v21-minilm', 'prompt': row}
print(json.dumps({'custom_id': 'a', 'method': 'POST', 'url': '/v1/completions', 'body': body}))" > vectors.jsonl
curl -sS $API/v1/files -F purpose=batch -F file=@vectors.jsonl""",
    "list_files": 'curl -sS "$API/v1/files?limit=10"',
    "read_file": 'curl -sS "$API/v1/files/$FILE"',
    "delete_file": 'curl -sS -X DELETE "$API/v1/files/$FILE"',
    "read_file_content": 'curl -sS "$API/v1/files/$FILE/content"',
    "create_openai_batch": """\
curl -sS $API/v1/batches -H 'Content-Type: application/json' \\
    -d '{"input_file_id": "'$FILE'", "endpoint": "/v1/completions", "completion_window": "24h"}'""",
    "list_openai_batches": 'curl -sS "$API/v1/batches?limit=10"',
    "read_openai_batch": 'curl -sS "$API/v1/batches/$BATCH"',
    "cancel_openai_batch": 'curl -sS -X POST "$API/v1/batches/$BATCH/cancel"',
    "healthz": "curl -sS $API/healthz",
    "readyz": "curl -sS $API/readyz",
    "read_metrics": "curl -sS $API/metrics",
}
