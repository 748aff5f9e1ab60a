"""What requests were sent, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prices:
    """Dollars per 1,000 requests. The defaults: AWS S3 Standard in us-east-1, November 2026.

    https://aws.amazon.com/s3/pricing/
    """

    put_object: float = 0.005
    get_object: float = 0.0004
    list_objects_v2: float = 0.005
    delete_object: float = 0.0


@dataclass(frozen=True)
class Requests:
    """How many requests were sent, by S3 operation, those that failed included."""

    put_object: int = 0
    get_object: int = 0
    list_objects_v2: int = 0
    delete_object: int = 0

    def dollars(self, prices: Prices | None = None) -> float:
        """Return what these requests cost, apart from stored bytes and traffic.

        Stores bill refused conditions and missing keys like any other request.
        """
        prices = prices or Prices()
        total = (
            self.put_object * prices.put_object
            + self.get_object * prices.get_object
            + self.list_objects_v2 * prices.list_objects_v2
            + self.delete_object * prices.delete_object
        )
        return total / 1000
