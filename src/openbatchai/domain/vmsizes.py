"""The catalogue of `vmSize` names: cores, memory and GPUs as Azure published them for 2018.

batchai-service.md section 8.1: any Linux size but STANDARD_A0 and the premium GS/DS/DSv2 series.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class VmSize:
    name: str
    cores: int
    memory_gib: float
    gpus: int


def _sizes(*rows: tuple[str, int, float, int]) -> dict[str, VmSize]:
    return {
        f"STANDARD_{name}": VmSize(f"STANDARD_{name}", cores, memory, gpus)
        for name, cores, memory, gpus in rows
    }


CATALOGUE = _sizes(
    ("A1", 1, 1.75, 0), ("A2", 2, 3.5, 0), ("A3", 4, 7, 0), ("A4", 8, 14, 0),
    ("A5", 2, 14, 0), ("A6", 4, 28, 0), ("A7", 8, 56, 0),
    ("A8", 8, 56, 0), ("A9", 16, 112, 0), ("A10", 8, 56, 0), ("A11", 16, 112, 0),
    ("A1_V2", 1, 2, 0), ("A2_V2", 2, 4, 0), ("A4_V2", 4, 8, 0), ("A8_V2", 8, 16, 0),
    ("A2M_V2", 2, 16, 0), ("A4M_V2", 4, 32, 0), ("A8M_V2", 8, 64, 0),
    ("D1", 1, 3.5, 0), ("D2", 2, 7, 0), ("D3", 4, 14, 0), ("D4", 8, 28, 0),
    ("D11", 2, 14, 0), ("D12", 4, 28, 0), ("D13", 8, 56, 0), ("D14", 16, 112, 0),
    ("D1_V2", 1, 3.5, 0), ("D2_V2", 2, 7, 0), ("D3_V2", 4, 14, 0), ("D4_V2", 8, 28, 0), ("D5_V2", 16, 56, 0),
    ("D11_V2", 2, 14, 0), ("D12_V2", 4, 28, 0), ("D13_V2", 8, 56, 0), ("D14_V2", 16, 112, 0),
    ("D15_V2", 20, 140, 0),
    ("D2_V3", 2, 8, 0), ("D4_V3", 4, 16, 0), ("D8_V3", 8, 32, 0), ("D16_V3", 16, 64, 0),
    ("D32_V3", 32, 128, 0),
    ("D64_V3", 64, 256, 0), ("D2S_V3", 2, 8, 0), ("D4S_V3", 4, 16, 0), ("D8S_V3", 8, 32, 0),
    ("D16S_V3", 16, 64, 0), ("D32S_V3", 32, 128, 0), ("D64S_V3", 64, 256, 0),
    ("E2_V3", 2, 16, 0), ("E4_V3", 4, 32, 0), ("E8_V3", 8, 64, 0), ("E16_V3", 16, 128, 0),
    ("E32_V3", 32, 256, 0), ("E64_V3", 64, 432, 0), ("E2S_V3", 2, 16, 0), ("E4S_V3", 4, 32, 0),
    ("E8S_V3", 8, 64, 0), ("E16S_V3", 16, 128, 0), ("E32S_V3", 32, 256, 0), ("E64S_V3", 64, 432, 0),
    ("F1", 1, 2, 0), ("F2", 2, 4, 0), ("F4", 4, 8, 0), ("F8", 8, 16, 0), ("F16", 16, 32, 0),
    ("F1S", 1, 2, 0), ("F2S", 2, 4, 0), ("F4S", 4, 8, 0), ("F8S", 8, 16, 0), ("F16S", 16, 32, 0),
    ("F2S_V2", 2, 4, 0), ("F4S_V2", 4, 8, 0), ("F8S_V2", 8, 16, 0), ("F16S_V2", 16, 32, 0),
    ("F32S_V2", 32, 64, 0), ("F64S_V2", 64, 128, 0), ("F72S_V2", 72, 144, 0),
    ("G1", 2, 28, 0), ("G2", 4, 56, 0), ("G3", 8, 112, 0), ("G4", 16, 224, 0), ("G5", 32, 448, 0),
    ("H8", 8, 56, 0), ("H16", 16, 112, 0), ("H8M", 8, 112, 0), ("H16M", 16, 224, 0),
    ("H16R", 16, 112, 0), ("H16MR", 16, 224, 0),
    ("L4S", 4, 32, 0), ("L8S", 8, 64, 0), ("L16S", 16, 128, 0), ("L32S", 32, 256, 0),
    ("NC6", 6, 56, 1), ("NC12", 12, 112, 2), ("NC24", 24, 224, 4), ("NC24R", 24, 224, 4),
    ("NC6S_V2", 6, 112, 1), ("NC12S_V2", 12, 224, 2), ("NC24S_V2", 24, 448, 4), ("NC24RS_V2", 24, 448, 4),
    ("NC6S_V3", 6, 112, 1), ("NC12S_V3", 12, 224, 2), ("NC24S_V3", 24, 448, 4), ("NC24RS_V3", 24, 448, 4),
    ("ND6S", 6, 112, 1), ("ND12S", 12, 224, 2), ("ND24S", 24, 448, 4), ("ND24RS", 24, 448, 4),
    ("NV6", 6, 56, 1), ("NV12", 12, 112, 2), ("NV24", 24, 224, 4),
)  # fmt: skip


# No size of Azure's: a node that has all of the machine. What that is only the engine knows, hence the zeros.
LOCAL = VmSize("local", 0, 0, 0)
CATALOGUE[LOCAL.name] = LOCAL


def find_size(name: str) -> VmSize | None:
    return LOCAL if name.lower() == LOCAL.name else CATALOGUE.get(name.upper())
