"""ServiceAccount: every pod runs as one, and finds its token, the cluster's CA and its namespace mounted."""

from wherry.api import core_v1 as core
from wherry.meta.errors import forbidden
from wherry.rules import pods
from wherry.server.admission.kinds import writes
from wherry.server.admission.plugin import AdmissionPlugin, Attributes, Operation
from wherry.server.strategies.strategy import Caches

DEFAULT_NAME = "default"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
TOKEN_EXPIRATION_SECONDS = 3607
"""An hour and seven seconds, by which a token of this plugin is told from one a user asked for."""


class ServiceAccount(AdmissionPlugin):
    """On pod creation only."""

    name = "ServiceAccount"
    kinds = frozenset({("", "pods")})

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def handles(self, operation: Operation) -> bool:
        return operation == "CREATE"

    async def admit(self, attributes: Attributes) -> None:
        if not writes(attributes, "", "pods"):
            return
        pod: core.Pod = attributes.object
        if pods.is_mirror(pod):
            _check_mirror(attributes, pod)
            return
        spec = pod.spec
        spec.serviceAccountName = spec.serviceAccountName or DEFAULT_NAME
        spec.serviceAccount = spec.serviceAccountName
        account = self._account(attributes, spec.serviceAccountName)
        if _wants_token(spec, account):
            _mount_token(attributes, spec)
        if not spec.imagePullSecrets:
            spec.imagePullSecrets = list(account.imagePullSecrets)

    async def validate(self, attributes: Attributes) -> None:
        if writes(attributes, "", "pods") and not pods.is_mirror(attributes.object):
            name = attributes.object.spec.serviceAccountName
            if not name:
                raise forbidden("pods", attributes.name, "no service account specified for pod")
            self._account(attributes, name)

    def _account(self, attributes: Attributes, name: str) -> core.ServiceAccount:
        account = self._caches.get(core.ServiceAccount, attributes.namespace, name)
        if account is None:
            text = f'serviceaccount "{name}" not found'
            text = f"error looking up service account {attributes.namespace}/{name}: {text}"
            raise forbidden("pods", attributes.name, text)
        return account


def _check_mirror(attributes: Attributes, pod: core.Pod) -> None:
    if pod.spec.serviceAccountName:
        raise forbidden("pods", attributes.name, "a mirror pod may not reference service accounts")
    if any(volume.secret is not None for volume in pod.spec.volumes):
        raise forbidden("pods", attributes.name, "a mirror pod may not reference secrets")


def _wants_token(spec: core.PodSpec, account: core.ServiceAccount) -> bool:
    if spec.automountServiceAccountToken is not None:
        return spec.automountServiceAccountToken
    return account.automountServiceAccountToken is not False


def _mount_token(attributes: Attributes, spec: core.PodSpec) -> None:
    existing = next((item.name for item in spec.volumes if item.name.startswith(VOLUME_PREFIX)), None)
    name = existing or VOLUME_PREFIX + attributes.ctx.entropy.suffix(5)
    mounted = False
    for container in pods.all_containers(spec):
        if not any(mount.mountPath == MOUNT_PATH for mount in container.volumeMounts):
            mount = core.VolumeMount(name=name, readOnly=True, mountPath=MOUNT_PATH)
            container.volumeMounts = [*container.volumeMounts, mount]
            mounted = True
    if mounted and existing is None:
        spec.volumes = [*spec.volumes, core.Volume(name=name, projected=_projection())]


def _projection() -> core.ProjectedVolumeSource:
    token = core.ServiceAccountTokenProjection(path="token", expirationSeconds=TOKEN_EXPIRATION_SECONDS)
    certificate = core.ConfigMapProjection(name="kube-root-ca.crt", items=[core.KeyToPath(key="ca.crt", path="ca.crt")])
    field = core.ObjectFieldSelector(apiVersion="v1", fieldPath="metadata.namespace")
    namespace = core.DownwardAPIProjection(items=[core.DownwardAPIVolumeFile(path="namespace", fieldRef=field)])
    return core.ProjectedVolumeSource(
        defaultMode=0o644,
        sources=[
            core.VolumeProjection(serviceAccountToken=token),
            core.VolumeProjection(configMap=certificate),
            core.VolumeProjection(downwardAPI=namespace),
        ],
    )
