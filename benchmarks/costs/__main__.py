"""`python -m benchmarks.costs`"""
import json, sys, os, subprocess, time, resource
from pathlib import Path
from tempfile import TemporaryDirectory
import psycopg
from benchmarks.costs.servers import SETTINGS
from embedded.backing import Backing
from embedded.product import PROJECT, Product

def cpu():
    s=resource.getrusage(resource.RUSAGE_SELF);c=resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(s.ru_utime+s.ru_stime+c.ru_utime+c.ru_stime,1)

with TemporaryDirectory(prefix="coordinator-costs-") as name:
    folder = Path(name)
    with Backing(folder / "servers", durable=False, outside={}) as backing:
        with psycopg.connect(backing.postgres.superuser_url(), autocommit=True) as c:
            for k, v in SETTINGS.items():
                c.execute(f"ALTER SYSTEM SET {k} = '{v}'".encode())
        backing.postgres.stop(); backing.postgres.start()
        p = Product(folder / "product", backing.environment(), {"PUBLIC_URL": "http://127.0.0.1:8000", "LOG_LEVEL": "WARNING", "SUBMISSION_CACHE_SECONDS": "600", "RETRY_DELAY_SECONDS": "3600", "LEASE_SECONDS": "600",
            "DJANGO_SETTINGS_MODULE": "coordinator.settings", "COSTS_DATABASE_URL": backing.postgres.superuser_url(), "COSTS_REDIS_URL": backing.valkey.owner_url})
        p.prepare()
        print("prepared", cpu(), file=sys.stderr)
        done = subprocess.run([sys.executable, "-m", "benchmarks.costs.measure", str(folder / "built"), *sys.argv[1:]], cwd=PROJECT, env=p.environment, stdout=subprocess.PIPE)
        print("measured", cpu(), file=sys.stderr)
    backing.postgres.remove()
print("end", cpu(), file=sys.stderr)
print(json.dumps(json.loads(done.stdout), indent=1, sort_keys=True))
