import random
import threading
from collections import Counter
from typing import Any

import requests

from embedded.product import Product


class Front:
    """Sends each request to one of the products in rotation. Can be used by many threads."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.token = ""
        self.errors: list[str] = []
        self._rotation: list[Product] = []
        self._open: Counter[str] = Counter()
        self._changed = threading.Condition()

    def add(self, product: Product) -> None:
        with self._changed:
            self._rotation.append(product)
            self._changed.notify_all()

    def take_out(self, product: Product) -> None:
        """Send it no more requests. Returns when it has answered all that it got."""
        with self._changed:
            self._rotation.remove(product)
            self._changed.wait_for(lambda: self._open[product.url] == 0, timeout=30)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON of the response, or None after an unexpected one, which is recorded.

        Waits while no product is in rotation.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._rotation)
            product = random.choice(self._rotation)
            self._open[product.url] += 1
        url = f"{product.url}/api/v1/tenants/{self.tenant}/{path}"
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            response = requests.request(method, url, json=body, headers=headers, timeout=30)
            if response.ok:
                return response.json()
            self.errors.append(f"{method} {path}: {response.status_code} {response.text}")
        except requests.RequestException as error:
            self.errors.append(f"{method} {path}: {error}")
        finally:
            with self._changed:
                self._open[product.url] -= 1
                self._changed.notify_all()
        return None
