"""The complete product with an S3 store and a dedicated database and broker, for tests of direct uploads."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from embedded.backing import Backing
from embedded.product import Product
from tests import transaction_calls
from tests.building import first_tenant
from tests.database_template import database
from tests.running import PASSWORD
from tests.s3 import S3Place
from tests.servers import NUMBER, ordinary_url

TENANT = "acme"
PERSON = "ann"


@dataclass(frozen=True)
class S3Product:
    product: Product
    token: str

    def get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        response = requests.get(f"{self.product.url}/api/v1/tenants/{TENANT}/{path}", headers=headers, timeout=20)
        assert response.status_code == 200, response.text
        return response.json()


@contextmanager
def s3_product(folder: Path, where: S3Place, static_root: str, **settings: str) -> Iterator[S3Product]:
    """Run the product. Requires the fixture `django_db_setup`."""
    with (
        database(f"test_{NUMBER}_s3") as name,
        Backing(folder / "servers", outside={"DATABASE_URL": ordinary_url(name)}) as backing,
    ):
        defaults = {
            **transaction_calls.environment(),
            "STATIC_ROOT": static_root,
            "ARTIFACT_STORE": "s3",
            "S3_ENDPOINT_URL": where.endpoint_url,
            "S3_BUCKET": where.bucket,
            "S3_PREFIX": where.prefix,
            "S3_ACCESS_KEY_ID": where.access_key_id,
            "S3_SECRET_ACCESS_KEY": where.secret_access_key,
            "SWEEP_SECONDS": "0.5",
            "UPLOAD_PART_BYTES": str(5 * 2**20),
        }
        product = Product(folder / "product", backing.environment(), {**defaults, **settings}, web_processes=1)
        try:
            product.start()
            scopes = ("read", "releases:register")
            yield S3Product(product, first_tenant(product, TENANT, PERSON, PASSWORD, scopes))
        finally:
            product.stop()
