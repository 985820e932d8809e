"""Finite groups as Cayley tables: families, subgroups, actions, real irreducible representations, characters.

Integers wherever integers suffice; NumPy and nothing else.
"""

from aitia.finite_groups.actions import GSet, check_action, coset_action, orbitals, regular_action
from aitia.finite_groups.cayley import check_table, identity_of
from aitia.finite_groups.characters import CharacterTable, character_table
from aitia.finite_groups.families import (
    alternating,
    cyclic,
    dicyclic,
    dihedral,
    direct_product,
    metacyclic,
    permutation_group,
    projective_special_linear,
    semidirect_product,
    special_linear,
    symmetric,
)
from aitia.finite_groups.group import Group, group_from_table
from aitia.finite_groups.names import named_group, quaternion
from aitia.finite_groups.representations import RealIrrep, check_irrep, real_irreps
from aitia.finite_groups.subgroups import (
    all_subgroups,
    conjugate_subgroups,
    is_normal,
    left_cosets,
    require_subgroup,
    right_cosets,
    subgroup,
    subgroup_classes,
)

__all__ = [
    "CharacterTable",
    "GSet",
    "Group",
    "RealIrrep",
    "all_subgroups",
    "alternating",
    "character_table",
    "check_action",
    "check_irrep",
    "check_table",
    "conjugate_subgroups",
    "coset_action",
    "cyclic",
    "dicyclic",
    "dihedral",
    "direct_product",
    "group_from_table",
    "identity_of",
    "is_normal",
    "left_cosets",
    "metacyclic",
    "named_group",
    "orbitals",
    "permutation_group",
    "projective_special_linear",
    "quaternion",
    "real_irreps",
    "regular_action",
    "require_subgroup",
    "right_cosets",
    "semidirect_product",
    "special_linear",
    "subgroup",
    "subgroup_classes",
    "symmetric",
]
