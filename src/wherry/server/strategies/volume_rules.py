"""The rules of a pod's volumes: one source each, and what each source requires.

PersistentVolumes name their sources alike and ask `source` for each; what they require beyond is in storage.py.

Source: kubernetes pkg/apis/core/validation.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from wherry.api import core_v1 as core
from wherry.meta import names
from wherry.meta.errors import duplicate, field_forbidden, invalid_value, not_supported, required, too_long
from wherry.server.strategies import checks, claim_rules, env_rules
from wherry.server.strategies.checks import Faults

SOURCES = tuple(name for name in core.Volume.__struct_fields__ if name != "name")
_HOST_PATHS = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_PARTITION = names.out_of_range(1, 255)
_ISCSI_FORMS = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([a-zA-Z0-9.-]+)(:[^,;*&$|\s]+)?$"),
    "eui": re.compile(r"eui.[0-9A-Fa-f]{16}$"),
    "naa": re.compile(r"naa.[0-9A-Fa-f]{32}$"),
}
_KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
_MANAGED = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
_BLOB = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
TOKEN_SECONDS_MIN, TOKEN_SECONDS_MAX = 600, 1 << 32
CERTIFICATE_SECONDS_MIN, CERTIFICATE_SECONDS_MAX, KUBERNETES_CERTIFICATE_SECONDS_MAX = 3600, 91 * 86400, 86400


def volumes(path: str, items: Sequence[core.Volume], pod_name: str | None, fit: dict[str, core.Volume]) -> Faults:
    """All volumes of a pod (`pod_name`) or template (None). Those without faults are put into `fit`, by name."""
    made = {f"{pod_name}-{item.name}" for item in items if item.ephemeral is not None} if pod_name else set[str]()
    for index, volume in enumerate(items):
        here = f"{path}[{index}]"
        faults = [*_source(here, volume), *_own_name(here, volume, pod_name)]
        if volume.name in fit:
            faults.append(duplicate(f"{here}.name", volume.name))
        if faults:
            yield from faults
        else:
            fit[volume.name] = volume
        claim = volume.persistentVolumeClaim
        if claim is not None and claim.claimName in made:
            text = "must not reference a PVC that gets created for an ephemeral volume"
            yield invalid_value(f"{here}.persistentVolumeClaim.claimName", claim.claimName, text)


def _own_name(path: str, volume: core.Volume, pod_name: str | None) -> Faults:
    if volume.iscsi is not None and volume.iscsi.initiatorName is not None:
        yield from _iscsi_length(f"{path}.name", volume.name, volume.name, volume.iscsi.targetPortal)
    if volume.ephemeral is not None and pod_name and volume.name:
        claim = f"{pod_name}-{volume.name}"
        for text in names.dns1123_subdomain(claim):
            yield invalid_value(f"{path}.name", volume.name, f'PVC name "{claim}": {text}')
    if volume.image is not None and pod_name is not None:
        yield from checks.present(f"{path}.image.reference", volume.image.reference)
    yield from checks.named_required(f"{path}.name", volume.name, names.dns1123_label)


def _iscsi_length(path: str, value: str, name: str, portal: str) -> Faults:
    if len(f"{name}:{portal}") > 64:
        text = (
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is "
            "specified."
        )
        yield invalid_value(path, value, text)


def _source(path: str, volume: core.Volume) -> Faults:
    chosen = [name for name in SOURCES if getattr(volume, name) is not None]
    if not chosen:
        yield required(path, "must specify a volume type")
    for extra in chosen[1:]:
        yield field_forbidden(f"{path}.{extra}", "may not specify more than 1 volume type")
    for name in chosen[:1]:
        yield from source(path, name, getattr(volume, name))


def source(path: str, name: str, value: Any) -> Faults:
    """What one source requires, by its name."""
    here = f"{path}.{_SPOKEN.get(name, name)}"
    for member in _REQUIRED.get(name, "").split():
        yield from checks.present(f"{here}.{member}", getattr(value, member))
    if rule := _RULES.get(name):
        yield from rule(here, value)


def _mode(path: str, value: int | None) -> Faults:
    if value is not None and not 0 <= value <= 0o777:
        yield invalid_value(path, value, _MODE)


def _items(path: str, items: Sequence[core.KeyToPath]) -> Faults:
    for index, item in enumerate(items):
        here = f"{path}.items[{index}]"
        yield from checks.present(f"{here}.key", item.key)
        yield from checks.present(f"{here}.path", item.path)
        yield from checks.not_reserved(f"{here}.path", item.path)
        yield from _mode(f"{here}.mode", item.mode)


def _files(path: str, source: core.SecretVolumeSource | core.ConfigMapVolumeSource) -> Faults:
    yield from _mode(f"{path}.defaultMode", source.defaultMode)
    yield from _items(path, source.items)


def _empty_dir(path: str, source: core.EmptyDirVolumeSource) -> Faults:
    if source.sizeLimit is not None and source.sizeLimit.nanos() < 0:
        yield field_forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")


def _host_path(path: str, source: core.HostPathVolumeSource) -> Faults:
    if source.path:
        yield from checks.no_backsteps(f"{path}.path", source.path)
        yield from checks.one_of(f"{path}.type", source.type, _HOST_PATHS)


def _git_repo(path: str, source: core.GitRepoVolumeSource) -> Faults:
    yield from checks.descending(f"{path}.directory", source.directory or "")


def _downward(path: str, source: core.DownwardAPIVolumeSource) -> Faults:
    yield from _mode(f"{path}.defaultMode", source.defaultMode)
    for item in source.items:
        yield from _downward_file(path, item)


def _downward_file(path: str, item: core.DownwardAPIVolumeFile) -> Faults:
    yield from checks.present(f"{path}.path", item.path)
    yield from checks.not_reserved(f"{path}.path", item.path)
    if item.fieldRef is not None:
        yield from env_rules.field_ref(f"{path}.fieldRef", item.fieldRef, env_rules.VOLUME_FIELD_PATHS)
        if item.resourceFieldRef is not None:
            yield invalid_value(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
    elif item.resourceFieldRef is not None:
        yield from env_rules.resource_ref(f"{path}.resourceFieldRef", item.resourceFieldRef, named=True)
    else:
        yield required(path, "one of fieldRef and resourceFieldRef is required")
    yield from _mode(f"{path}.mode", item.mode)


def _projected(path: str, source: core.ProjectedVolumeSource) -> Faults:
    yield from _mode(f"{path}.defaultMode", source.defaultMode)
    paths: set[str] = set()
    for index, projection in enumerate(source.sources):
        here = f"{path}.sources[{index}]"
        chosen = [name for name in projection.__struct_fields__ if getattr(projection, name) is not None]
        for name in chosen:
            yield from _PROJECTIONS[name](f"{here}.{name}", getattr(projection, name))
        for shown, given in _projected_paths(projection):
            if given in paths:
                yield invalid_value(path, shown, "conflicting duplicate paths")
            paths.add(given)
        if len(chosen) > 1:
            yield field_forbidden(here, "may not specify more than 1 volume type per source")


def _projected_paths(projection: core.VolumeProjection) -> Iterable[tuple[str, str]]:
    """Paths that no other source may give, each with what a fault about it shows."""
    for named in (projection.secret, projection.configMap):
        for item in named.items if named is not None else ():
            yield (named.name or "" if named is not None else ""), item.path
    for file in projection.downwardAPI.items if projection.downwardAPI is not None else ():
        yield file.path, file.path
    if (bundle := projection.clusterTrustBundle) is not None:
        yield bundle.path, bundle.path
    if (certificate := projection.podCertificate) is not None:
        for path in (certificate.credentialBundlePath, certificate.keyPath, certificate.certificateChainPath):
            if path:
                yield path, path


def _named_items(path: str, source: core.SecretProjection | core.ConfigMapProjection) -> Faults:
    yield from checks.present(f"{path}.name", source.name)
    yield from _items(path, source.items)


def _downward_projection(path: str, source: core.DownwardAPIProjection) -> Faults:
    for item in source.items:
        yield from _downward_file(path, item)


def _token(path: str, token: core.ServiceAccountTokenProjection) -> Faults:
    seconds = token.expirationSeconds or 0
    if seconds < TOKEN_SECONDS_MIN:
        yield invalid_value(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if seconds > TOKEN_SECONDS_MAX:
        yield invalid_value(f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
    # The path is looked for where the projected volume is, not below the token: a slip that clients know by now.
    whole = path.partition(".sources[")[0]
    if not token.path:
        yield required(f"{whole}.path")
    else:
        yield from checks.not_reserved(f"{whole}.path", token.path)


def _bundle(path: str, bundle: core.ClusterTrustBundleProjection) -> Faults:
    if bundle.name is not None and bundle.signerName is not None:
        yield invalid_value(path, bundle, "only one of name and signerName may be used")
    elif bundle.name is not None:
        if not bundle.name:
            yield required(f"{path}.name", "must be a valid object name")
        for text in names.dns1123_subdomain(bundle.name.replace(":", ".")):
            yield invalid_value(f"{path}.name", bundle.name, f"not a valid clustertrustbundlename: {text}")
        if bundle.labelSelector is not None:
            text = "labelSelector must be unset if name is specified"
            yield invalid_value(f"{path}.labelSelector", bundle.labelSelector, text)
    elif bundle.signerName is not None:
        if not bundle.signerName:
            yield required(f"{path}.signerName", "must be a valid signer name")
        yield from signer(f"{path}.signerName", bundle.signerName)
        yield from checks.label_selector(f"{path}.labelSelector", bundle.labelSelector)
    else:
        yield required(path, "either name or signerName must be specified")
    yield from checks.present(f"{path}.path", bundle.path)
    yield from checks.not_reserved(f"{path}.path", bundle.path)


def signer(path: str, name: str) -> Faults:
    """A signer: a domain, a slash, and a path."""
    if not name:
        yield required(path)
        return
    domain, slash, rest = name.partition("/")
    if not slash or "/" in rest:
        text = 'must be a fully qualified domain and path of the form "example.com/signer-name"'
        yield invalid_value(path, name, text)
        return
    for text in [*names.dns1123_subdomain(domain), *names.dns1123_subdomain(rest)]:
        yield invalid_value(path, name, text)


def _certificate(path: str, source: core.PodCertificateProjection) -> Faults:
    yield from signer(f"{path}.signerName", source.signerName)
    if source.keyType not in _KEY_TYPES:
        yield not_supported(f"{path}.keyType", source.keyType, _KEY_TYPES)
    seconds, own = source.maxExpirationSeconds, source.signerName.startswith("kubernetes.io/")
    longest = KUBERNETES_CERTIFICATE_SECONDS_MAX if own else CERTIFICATE_SECONDS_MAX
    if seconds is not None and not CERTIFICATE_SECONDS_MIN <= seconds <= longest:
        bound = f">= {CERTIFICATE_SECONDS_MIN}" if seconds < CERTIFICATE_SECONDS_MIN else f"<= {longest}"
        text = f"if provided, maxExpirationSeconds must be {bound}"
        yield invalid_value(f"{path}.maxExpirationSeconds", seconds, text)
    members = ("credentialBundlePath", "keyPath", "certificateChainPath")
    for name in members:
        yield from checks.not_reserved(f"{path}.{name}", getattr(source, name) or "")
    if not any(getattr(source, name) for name in members):
        yield required(path, f"specify at least one of {members[0]}, {members[1]}, and {members[2]}")


def _nfs(path: str, source: core.NFSVolumeSource) -> Faults:
    if not source.path.startswith("/"):
        yield invalid_value(f"{path}.path", source.path, "must be an absolute path")


def _csi(path: str, source: core.CSIVolumeSource) -> Faults:
    yield from driver_name(f"{path}.driver", source.driver)
    if source.nodePublishSecretRef is not None:
        yield from checks.present(f"{path}.nodePublishSecretRef.name", source.nodePublishSecretRef.name)


def driver_name(path: str, name: str) -> Faults:
    """A CSI driver's: a domain in any case, 63 bytes at most."""
    yield from checks.present(path, name)
    if len(name) > names.LABEL_MAX:
        yield too_long(path, names.LABEL_MAX)
    yield from (invalid_value(path, name, text) for text in names.dns1123_subdomain(name.lower()))


def _ephemeral(path: str, source: core.EphemeralVolumeSource) -> Faults:
    template = source.volumeClaimTemplate
    if template is None:
        yield required(f"{path}.volumeClaimTemplate")
    else:
        yield from claim_rules.template(f"{path}.volumeClaimTemplate", template)


def _image(path: str, source: core.ImageVolumeSource) -> Faults:
    yield from checks.one_of_required(f"{path}.pullPolicy", source.pullPolicy, ("Always", "IfNotPresent", "Never"))


def _iscsi(path: str, source: core.ISCSIVolumeSource | core.ISCSIPersistentVolumeSource) -> Faults:
    if source.iqn:
        yield from _iscsi_name(f"{path}.iqn", source.iqn)
    yield from checks.within(f"{path}.lun", source.lun, 0, 255)
    if (source.chapAuthDiscovery or source.chapAuthSession) and source.secretRef is None:
        yield required(f"{path}.secretRef")
    if source.initiatorName is not None:
        yield from _iscsi_name(f"{path}.initiatorname", source.initiatorName)


def _iscsi_name(path: str, value: str) -> Faults:
    form = _ISCSI_FORMS.get(value[:3])
    if form is None:
        yield invalid_value(path, value, "must be valid format starting with iqn, eui, or naa")
    elif not form.match(value):
        yield invalid_value(path, value, "must be valid format")


def _partition(path: str, source: core.GCEPersistentDiskVolumeSource | core.AWSElasticBlockStoreVolumeSource) -> Faults:
    if not 0 <= (source.partition or 0) <= 255:
        yield invalid_value(f"{path}.partition", source.partition, _PARTITION)


def _fc(path: str, source: core.FCVolumeSource) -> Faults:
    if not source.targetWWNs and not source.wwids:
        yield required(f"{path}.targetWWNs", "must specify either targetWWNs or wwids, but not both")
    elif source.targetWWNs and source.wwids:
        text = "targetWWNs and wwids can not be specified simultaneously"
        yield invalid_value(f"{path}.targetWWNs", source.targetWWNs, text)
    if source.targetWWNs and source.lun is None:
        yield required(f"{path}.lun", "lun is required if targetWWNs is specified")
    elif source.targetWWNs:
        yield from checks.within(f"{path}.lun", source.lun, 0, 255)


def _flocker(path: str, source: core.FlockerVolumeSource) -> Faults:
    if not source.datasetName and not source.datasetUUID:
        yield required(path, "one of datasetName and datasetUUID is required")
    elif source.datasetName and source.datasetUUID:
        yield invalid_value(path, "resource", "datasetName and datasetUUID can not be specified simultaneously")
    if "/" in (source.datasetName or ""):
        yield invalid_value(f"{path}.datasetName", source.datasetName, "must not contain '/'")


def _flex(path: str, source: core.FlexVolumeSource) -> Faults:
    for key in source.options:
        if f".{key.partition('/')[0].lower()}".endswith((".kubernetes.io", ".k8s.io")):
            text = "kubernetes.io and k8s.io namespaces are reserved"
            yield invalid_value(f"{path}.options[{key}]", key, text)


def _quobyte(path: str, source: core.QuobyteVolumeSource) -> Faults:
    text = "must be a host:port pair or multiple pairs separated by commas"
    if not source.registry:
        yield required(f"{path}.registry", text)
    elif len(source.tenant or "") > 64:
        yield required(f"{path}.tenant", "must be a UUID and may not exceed a length of 64 characters")
    elif any(pair.count(":") != 1 for pair in source.registry.split(",")):
        yield invalid_value(f"{path}.registry", source.registry, text)
    yield from checks.present(f"{path}.volume", source.volume)


def _azure_disk(path: str, source: core.AzureDiskVolumeSource) -> Faults:
    yield from checks.one_of(f"{path}.cachingMode", source.cachingMode, ("None", "ReadOnly", "ReadWrite"))
    yield from checks.one_of(f"{path}.kind", source.kind, ("Dedicated", "Managed", "Shared"))
    if source.kind is not None:
        form, start = (_MANAGED, "/subscriptions/") if source.kind == "Managed" else (_BLOB, "https://")
        if not source.diskURI.startswith(start):
            yield not_supported(f"{path}.diskURI", source.diskURI, (form,))


def _storageos(path: str, source: core.StorageOSVolumeSource) -> Faults:
    yield from checks.named_required(f"{path}.volumeName", source.volumeName, names.dns1123_label)
    if source.volumeNamespace:
        yield from checks.named(f"{path}.volumeNamespace", source.volumeNamespace, names.dns1123_label)
    yield from _secret_name(path, source)


def _secret_name(path: str, source: Any) -> Faults:
    if source.secretRef is not None:
        yield from checks.present(f"{path}.secretRef.name", source.secretRef.name)


# Some sources are spoken of by an older name than their own.
_SPOKEN = {"gcePersistentDisk": "persistentDisk"}
_REQUIRED = {
    "awsElasticBlockStore": "volumeID",
    "azureDisk": "diskName diskURI",
    "azureFile": "secretName shareName",
    "cephfs": "monitors",
    "cinder": "volumeID",
    "configMap": "name",
    "flexVolume": "driver",
    "gcePersistentDisk": "pdName",
    "gitRepo": "repository",
    "glusterfs": "endpoints path",
    "hostPath": "path",
    "iscsi": "targetPortal iqn",
    "nfs": "server path",
    "persistentVolumeClaim": "claimName",
    "photonPersistentDisk": "pdID",
    "portworxVolume": "volumeID",
    "rbd": "monitors image",
    "scaleIO": "gateway system volumeName",
    "secret": "secretName",
    "vsphereVolume": "volumePath",
}
_RULES: dict[str, Callable[[str, Any], Faults]] = {
    "awsElasticBlockStore": _partition,
    "azureDisk": _azure_disk,
    "cinder": _secret_name,
    "configMap": _files,
    "csi": _csi,
    "downwardAPI": _downward,
    "emptyDir": _empty_dir,
    "ephemeral": _ephemeral,
    "fc": _fc,
    "flexVolume": _flex,
    "flocker": _flocker,
    "gcePersistentDisk": _partition,
    "gitRepo": _git_repo,
    "hostPath": _host_path,
    "image": _image,
    "iscsi": _iscsi,
    "nfs": _nfs,
    "projected": _projected,
    "quobyte": _quobyte,
    "secret": _files,
    "storageos": _storageos,
}
_PROJECTIONS: dict[str, Callable[[str, Any], Faults]] = {
    "clusterTrustBundle": _bundle,
    "configMap": _named_items,
    "downwardAPI": _downward_projection,
    "podCertificate": _certificate,
    "secret": _named_items,
    "serviceAccountToken": _token,
}
