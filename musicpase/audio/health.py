"""How much of a stream was decoded, and how that is told to people."""

from dataclasses import dataclass

__all__ = ["Health"]


@dataclass
class Health:
    """What a reader notices about the state of the file while it decodes.

    Attributes:
        claimed_s: Length that the file promises [s]; None where nothing reliable says so.
        tolerance_s: Shortfall that is no damage [s]: codecs count their delay in or out.
        lost_s: Length of the packets that could not be decoded [s].
        cuts_matter: Whether a packet that ends early is a damage.
        damaged_at_s: Where the first damage was noticed [s]; None: nowhere.
    """

    claimed_s: float | None = None
    tolerance_s: float = 0.1
    lost_s: float = 0.0
    cuts_matter: bool = True
    damaged_at_s: float | None = None

    def mark(self, at_s: float, lost_s: float = 0.0) -> None:
        """Note a damage at `at_s` seconds that cost `lost_s` seconds."""
        self.lost_s += lost_s
        if self.damaged_at_s is None:
            self.damaged_at_s = at_s

    def warnings(self, decoded_s: float) -> tuple[str, ...]:
        """Say what is missing when `decoded_s` seconds were decoded; nothing when all is well."""
        whole_s = max(self.claimed_s or 0.0, decoded_s + self.lost_s)
        missing_s = whole_s - decoded_s
        if self.damaged_at_s is None and missing_s <= self.tolerance_s:
            return ()
        at_s = decoded_s if self.damaged_at_s is None else self.damaged_at_s
        digits = 1 if min(missing_s, decoded_s) >= 0.1 else 3
        amount = f"{decoded_s:.{digits}f} s"
        if missing_s > 5e-4:
            amount += f" of {whole_s:.{digits}f} s"
        return (f"{amount} decoded (stream damaged at {at_s:.1f} s)",)
