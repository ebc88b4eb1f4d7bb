# `make help` lists what there is. MEDIA=~/Pictures runs the demo or the benchmark on media of your own.
.POSIX:
.PHONY: help demo services services-stop check test test-cluster trials faults format evaluate bench-scan bench-stream bench-gpu bench-index bench-match bench-scale bench-api bench-backfill clean

help:
	@echo 'make demo         scan sample media (or MEDIA=~/Pictures) and say where the report is'
	@echo 'make services     start Kafka and Redis on this machine, without Docker, and say where; make services-stop'
	@echo 'make check        ruff, mypy and the fast unit tests, in less than two minutes'
	@echo 'make test         install what the tests need; ruff, mypy, pytest'
	@echo 'make test-cluster what past one machine needs: the Helm chart, clusters of Milvus and Ray (SUITES="chart milvus ray")'
	@echo 'make trials       cases that users report, each right or wrong (CASES=DIR for others)'
	@echo 'make faults       100 schedules of kills and restarts in each mode, against an oracle (FAULTS="--seed 17")'
	@echo 'make format       let ruff format the code'
	@echo 'make bench-scan   speed of the scan beside its parts and its peers (or MEDIA=...)'
	@echo 'make bench-stream speed of the stream, from Kafka to Redis (or MEDIA=...)'
	@echo 'make bench-gpu    images/s that a GPU decodes, embeds, and does both (or MEDIA=...)'
	@echo 'make bench-index  recall, speed and size of the indexes'
	@echo 'make bench-scale  what an item costs the match worker at growing sizes'
	@echo 'make bench-match  batch times of the match worker at a million items, while it builds and saves'
	@echo 'make bench-api    lookups/s and times of the API at a million items with 32 clients, and the delay of the feed'
	@echo 'make bench-backfill items per CPU-second of a backfill beside a scan, Ray and its processes told apart (or MEDIA=...)'
	@echo 'make evaluate     quality beside its peers, on a mini-set or on DATA=DIR (MODEL=, TRUNK=, ONLY=, FILMS=, OUTPUT=)'
	@echo 'make clean        remove the environment, the demo and caches'

demo:
	@scripts/demo

services:
	@scripts/services start

services-stop:
	@scripts/services stop

check:
	@scripts/check

test:
	@scripts/test

test-cluster:
	@scripts/test-cluster $(SUITES)

trials:
	@scripts/trials

faults:
	@scripts/environment dev,stream
	@.venv/bin/python -m tests.faults --jobs 2 $(FAULTS)

format:
	@scripts/environment demo,dev,stream,api
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

evaluate:
	@scripts/evaluate

bench-scan:
	@scripts/environment demo,bench
	@OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE .venv/bin/python -m benchmarks.bench_scan

bench-stream:
	@scripts/environment demo,stream,bench
	@OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE .venv/bin/python -m benchmarks.bench_stream

bench-gpu:
	@scripts/environment demo,stream,bench
	@OPENBLAS_NUM_THREADS=1 .venv/bin/python -m benchmarks.bench_gpu

bench-index:
	@scripts/environment demo,bench
	@.venv/bin/python -m benchmarks.bench_index

bench-match:
	@scripts/environment demo,stream,bench
	@OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE .venv/bin/python -m benchmarks.bench_match

bench-scale:
	@scripts/environment demo,stream,bench
	@OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE .venv/bin/python -m benchmarks.bench_scale

bench-api:
	@scripts/environment demo,dev,stream,api,bench
	@OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE .venv/bin/python -m benchmarks.bench_api

bench-backfill:
	@scripts/environment demo,stream,bench,ray
	@OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE .venv/bin/python -m benchmarks.bench_backfill

clean:
	rm -rf .venv demo dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
