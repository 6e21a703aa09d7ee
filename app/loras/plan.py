"""Matches the tensors of a LoRA file with the linear layers of a model, or says why they do not fit. No numbers are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.loras.errors import IncompatibleLora
from app.loras.families import describe_foreign
from app.loras.module_names import Module, ModuleNames
from app.loras.parts import Part, parse_name, why_unsupported
from app.loras.strength import AdapterConfig, check_scaling
from app.safetensors_header import SafetensorsHeader

_NAMES_MAX = 2  # in a message
_NAME_MAX_LENGTH = 80  # characters in a message
_FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
_FACTOR_PAIRS = {
    Part.LOKR_W1: (Part.LOKR_W1_A, Part.LOKR_W1_B),
    Part.LOKR_W2: (Part.LOKR_W2_A, Part.LOKR_W2_B),
}
_LOHA = (Part.LOHA_W1_A, Part.LOHA_W1_B, Part.LOHA_W2_A, Part.LOHA_W2_B)


class Kind(StrEnum):
    """How a change is computed from its tensors."""

    LORA = "lora"  # up @ down
    LOKR = "lokr"  # kron(w1, w2)
    LOHA = "loha"  # (w1_a @ w1_b) * (w2_a @ w2_b)
    FULL = "full"  # the change itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The change of one module, before its numbers are read."""

    kind: Kind
    module: Module
    tensors: Mapping[Part, str]
    """The name of each tensor in the file."""
    divisor: float
    """The rank that divides the alpha. 1 if no alpha applies."""
    factor: float
    """Multiplies the change, unless the file has an alpha for it."""

    def scaling(self, alpha: float | None) -> float:
        """Return the factor of the change for the module's own alpha. Raises IncompatibleLora."""
        return check_scaling(self.factor if alpha is None else alpha / self.divisor)


@dataclass(slots=True)
class _Parts:
    """The tensors of one module while they are collected."""

    name: str
    module: Module
    tensors: dict[Part, str]


def plan_changes(
    header: SafetensorsHeader, names: ModuleNames, config: AdapterConfig | None
) -> list[Change]:
    """Return the changes that a file makes to a model with these modules. Raises IncompatibleLora."""
    if not header.shapes:
        raise IncompatibleLora("it has no tensors; copy or download it again")
    modules = _Collector(header, names).collect()
    changes = [
        _change(parts, header, config) for parts in modules if set(parts.tensors) != {Part.ALPHA}
    ]
    if not changes:
        raise IncompatibleLora(f"it has no LoRA weights{_names(list(header.shapes))}")
    return changes


class _Collector:
    """Sorts the tensors of a file into modules, and notes those that have no place in the model."""

    def __init__(self, header: SafetensorsHeader, names: ModuleNames) -> None:
        self._header = header
        self._names = names
        self.modules: dict[tuple[str, ...], _Parts] = {}
        self._foreign: dict[str, list[str]] = {}
        self._adapters: set[str] = set()

    def collect(self) -> list[_Parts]:
        """Return the modules. Raises IncompatibleLora, which names the reason of most tensors' rejection."""
        for key, shape in self._header.shapes.items():
            if reason := self._sort(key, shape):
                self._foreign.setdefault(reason, []).append(key)
        if self._foreign:
            reason = max(self._foreign, key=lambda reason: len(self._foreign[reason]))
            raise IncompatibleLora(f"it {reason}{_names(self._foreign[reason])}")
        if len(self._adapters) > 1:
            names = _names(sorted(self._adapters))
            raise IncompatibleLora(f"it holds several adapters{names}; save one of them")
        return list(self.modules.values())

    def _sort(self, key: str, shape: tuple[int, ...]) -> str | None:
        """Add a tensor to its module, or return why it has no place."""
        if reason := why_unsupported(key):
            return reason
        parsed = parse_name(key)
        if parsed is None:
            return _why_not_passed_over(key, shape, self._names)
        module = self._names.find(parsed.module)
        if module is None:
            is_alone = parsed.part is Part.ALPHA  # an alpha alone changes nothing
            return None if is_alone else describe_foreign(parsed.module, self._names.linears)
        if parsed.part is not Part.ALPHA and self._header.dtypes[key] not in _FLOATS:
            return f"has tensors of {self._header.dtypes[key][:20]}, not of floating-point numbers"
        if parsed.adapter is not None:
            self._adapters.add(parsed.adapter)
        # the same module may have different prefixes
        parts = self.modules.setdefault(module.layers, _Parts(parsed.module, module, {}))
        if parsed.part in parts.tensors:
            return "holds the same tensor twice"
        parts.tensors[parsed.part] = key
        return None


def _why_not_passed_over(key: str, shape: tuple[int, ...], names: ModuleNames) -> str | None:
    """Return why a tensor that is no part of a change cannot be ignored, or None for numbers that nothing reads."""
    module = key.removesuffix(".weight")
    if module != key and (names.find(module) is not None or len(shape) > 1):
        return "holds whole weights instead of changes; a checkpoint belongs in KLEIN_WEIGHTS"
    is_number = _count(shape) <= 1
    if is_number and not any(
        word in key.lower() for word in ("alpha", "scale", "strength", "norm")
    ):
        return None
    return "holds tensors that klein does not know"


def _change(parts: _Parts, header: SafetensorsHeader, config: AdapterConfig | None) -> Change:
    tensors, module = parts.tensors, parts.module
    shapes: dict[Part, tuple[int, int]] = {
        part: _matrix(header.shapes[key], key)
        for part, key in tensors.items()
        if part is not Part.ALPHA
    }
    if Part.ALPHA in tensors and _count(header.shapes[tensors[Part.ALPHA]]) != 1:
        raise IncompatibleLora(f"its alpha is not one number{_names([tensors[Part.ALPHA]])}")
    kinds = {_kind(part) for part in shapes}
    if len(kinds) > 1:
        raise IncompatibleLora(f"it changes a layer in two ways{_names(list(tensors.values()))}")
    kind = kinds.pop()
    rank: int | None
    match kind:
        case Kind.LORA:
            rows, columns, rank = _lora_size(shapes, tensors)
        case Kind.LOHA:
            rows, columns, rank = _loha_size(shapes, tensors)
        case Kind.LOKR:
            rows, columns, rank = _lokr_size(shapes, tensors)
        case Kind.FULL:
            (rows, columns), rank = shapes[Part.DIFF], None
    if (rows, columns) != (module.rows, module.columns):
        key = next(key for part, key in tensors.items() if part is not Part.ALPHA)
        raise IncompatibleLora(
            f"it is made for a model of another size: it changes {rows}x{columns} numbers where "
            f"this model has {module.rows}x{module.columns}{_names([key])}"
        )
    factor = 1.0
    if config is not None and Part.ALPHA not in tensors and kind is not Kind.FULL:
        factor = check_scaling(config.scaling(parts.name, rank))
    if rank is None:  # whole factors have no rank, and trainers write any alpha beside them
        tensors = {part: key for part, key in tensors.items() if part is not Part.ALPHA}
    return Change(
        kind=kind, module=module, tensors=tensors, divisor=float(rank or 1), factor=factor
    )


def _kind(part: Part) -> Kind:
    if part in {Part.DOWN, Part.UP}:
        return Kind.LORA
    if part is Part.DIFF:
        return Kind.FULL
    return Kind.LOHA if part in _LOHA else Kind.LOKR


_Sizes = tuple[int, int, int | None]
"""Rows, columns and rank."""


def _lora_size(shapes: Mapping[Part, tuple[int, int]], tensors: Mapping[Part, str]) -> _Sizes:
    _require(shapes, tensors, Part.DOWN, Part.UP)
    (rows, up_rank), (rank, columns) = shapes[Part.UP], shapes[Part.DOWN]
    _check_inner(up_rank, rank, tensors)
    return rows, columns, rank


def _loha_size(shapes: Mapping[Part, tuple[int, int]], tensors: Mapping[Part, str]) -> _Sizes:
    _require(shapes, tensors, *_LOHA)
    sizes = set()
    for left, right in (_LOHA[:2], _LOHA[2:]):
        _check_inner(shapes[left][1], shapes[right][0], tensors)
        sizes.add((shapes[left][0], shapes[right][1]))
    if len(sizes) > 1:
        raise IncompatibleLora(f"its factors do not fit each other{_names(list(tensors.values()))}")
    (rows, columns) = sizes.pop()
    return rows, columns, shapes[Part.LOHA_W1_B][0]


def _lokr_size(shapes: Mapping[Part, tuple[int, int]], tensors: Mapping[Part, str]) -> _Sizes:
    sizes, rank = [], None
    for whole, (left, right) in _FACTOR_PAIRS.items():
        if whole in shapes:
            sizes.append(shapes[whole])
            continue
        _require(shapes, tensors, left, right)
        _check_inner(shapes[left][1], shapes[right][0], tensors)
        sizes.append((shapes[left][0], shapes[right][1]))
        rank = shapes[right][0]  # that of the second factor counts, as in LyCORIS
    return sizes[0][0] * sizes[1][0], sizes[0][1] * sizes[1][1], rank


def _require(
    shapes: Mapping[Part, tuple[int, int]], tensors: Mapping[Part, str], *parts: Part
) -> None:
    if missing := [part for part in parts if part not in shapes]:
        raise IncompatibleLora(
            f"it has no {missing[0]} beside{_names(list(tensors.values()), '')}; copy it again, whole"
        )


def _check_inner(left: int, right: int, tensors: Mapping[Part, str]) -> None:
    if left != right or not left:
        raise IncompatibleLora(f"its factors do not fit each other{_names(list(tensors.values()))}")


def _matrix(shape: tuple[int, ...], key: str) -> tuple[int, int]:
    """Return rows and columns. Some trainers write linear layers as convolutions of 1x1."""
    if len(shape) < 2 or any(side != 1 for side in shape[2:]):  # noqa: PLR2004 -- rows and columns
        raise IncompatibleLora(f"it has a tensor that is no matrix{_names([key])}")
    return shape[0], shape[1]


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


def _names(names: list[str], opening: str = ":") -> str:
    short_names = [
        name if len(name) <= _NAME_MAX_LENGTH else f"{name[:_NAME_MAX_LENGTH]}…" for name in names
    ]
    more = " …" if len(names) > _NAMES_MAX else ""
    return f"{opening} {', '.join(short_names[:_NAMES_MAX])}{more}"
