"""Methods of interpretation as explanations of a site: clusters, a probe, a dictionary, a circuit of units."""

from aitia.mechanisms.circuit import circuit_explanation
from aitia.mechanisms.clusters import cluster_explanation
from aitia.mechanisms.dictionary import dictionary_explanation
from aitia.mechanisms.probe import probe_explanation
from aitia.mechanisms.site import MECHANISMS_BELOW, SiteRecord, record_site

METHODS = {
    "clusters": cluster_explanation,
    "probe": probe_explanation,
    "dictionary": dictionary_explanation,
    "circuit": circuit_explanation,
}
"""Name -> the method: a `SiteRecord` to an `Explanation`."""

__all__ = [
    "MECHANISMS_BELOW",
    "METHODS",
    "SiteRecord",
    "circuit_explanation",
    "cluster_explanation",
    "dictionary_explanation",
    "probe_explanation",
    "record_site",
]
