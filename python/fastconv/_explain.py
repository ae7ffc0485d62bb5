"""What the engine would do with a call, as a readable record."""

from __future__ import annotations

from typing import Any, NamedTuple


class Candidate(NamedTuple):
    """One algorithm that was considered, whether it was chosen, and why."""

    name: str
    accepted: bool
    reason: str


class Explanation(NamedTuple):
    """What the engine would do with a call; ``str()`` of it is a table.

    Attributes
    ----------
    algorithm, kernel : str
        The chosen algorithm and its micro-kernel.
    candidates : tuple of Candidate
        Each algorithm in the order in which it was asked.
    isa : str
        Instruction set.
    threads : int
        Threads that the call would use.
    flops : int
        Multiplications and additions.
    bytes : int
        Bytes of input, weights and output.
    scratch_bytes_per_thread, packed_bytes : int
        Scratch of each thread, and size of the packed weights.
    output_shape : tuple of int
        Shape of the result.
    compute_dtype : str
        Type in which sums are held.
    """

    algorithm: str
    kernel: str
    candidates: tuple[Candidate, ...]
    isa: str
    threads: int
    flops: int
    bytes: int
    scratch_bytes_per_thread: int
    packed_bytes: int
    output_shape: tuple[int, ...]
    compute_dtype: str

    @classmethod
    def from_core(cls, record: dict[str, Any]) -> Explanation:
        """Build one from the dictionary that the extension returns."""
        record = {field: record[field] for field in cls._fields}
        record["candidates"] = tuple(Candidate(*entry) for entry in record["candidates"])
        record["output_shape"] = tuple(record["output_shape"])
        return cls(**record)

    def __str__(self) -> str:
        rows = [
            ("algorithm", f"{self.algorithm}, kernel {self.kernel}"),
            ("ISA, threads", f"{self.isa}, {self.threads}"),
            ("output", f"{self.output_shape}, computed in {self.compute_dtype}"),
            ("work", f"{_scaled(self.flops, 1000)}FLOP, {_scaled(self.bytes, 1024)}B moved"),
            (
                "scratch",
                f"{_scaled(self.scratch_bytes_per_thread, 1024)}B per thread, "
                f"{_scaled(self.packed_bytes, 1024)}B of packed weights",
            ),
        ]
        for candidate in self.candidates:
            verdict = "chosen" if candidate.accepted else "not chosen"
            rows.append((f"  {candidate.name}", f"{verdict}: {candidate.reason}"))
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _scaled(count: int, base: int) -> str:
    infix = "i" if base == 1024 else ""
    value = float(count)
    for prefix in ("", "K" if base == 1024 else "k", "M", "G"):
        if value < base:
            return f"{value:.0f} " if not prefix else f"{value:.1f} {prefix}{infix}"
        value /= base
    return f"{value:.1f} T{infix}"
