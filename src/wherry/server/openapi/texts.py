"""What `kubectl explain` says of the fields that every kind has, in our own words.

Texts begin with the words that Kubernetes' own begin with, by which people and the conformance tests know them.
"""

MORE = "More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"

EVERY_KIND = {
    "apiVersion": f"APIVersion defines in which version, of which group, this object is written. {MORE}#resources",
    "kind": f"Kind is what this object is; clients take it from the path that they send to. {MORE}#types-kinds",
}
OF_OBJECTS = f"Standard object's metadata. {MORE}#metadata"
OF_LISTS = f"Standard list metadata. {MORE}#types-kinds"

OBJECT_META = {
    "": "ObjectMeta is what every stored object has: identity, version, labels and lifecycle.",
    "annotations": "Annotations is a map of notes by tools, of any content; nothing selects by them.",
    "creationTimestamp": "CreationTimestamp is a timestamp of the server's when it made the object. Read-only.",
    "deletionGracePeriodSeconds": "Seconds that the object is given to end before it is removed. Read-only.",
    "deletionTimestamp": "DeletionTimestamp is when the object is to be gone; set by the server on a delete that has to"
    " wait, for a grace period or for finalizers. Read-only.",
    "finalizers": "Names of those who must be done with the object before it is removed; each takes its own away.",
    "generateName": "GenerateName is what a name begins with that the server makes up, where `name` is empty.",
    "generation": "A number that the server raises whenever the wanted state changes. Read-only.",
    "labels": "Map of names and values by which objects are sorted and selected.",
    "managedFields": "Who set which fields, how and when; kept by the server.",
    "name": "Name is unique among the objects of a kind in one namespace. It cannot be changed.",
    "namespace": "Namespace is where the name is unique. Empty for kinds of the whole cluster. It cannot be changed.",
    "ownerReferences": "Whose this object is: when all of them are gone, so is it. One may be its controller.",
    "resourceVersion": "A value that differs after every change; for watches, and for updates that must not be late. It"
    " says nothing else. Read-only.",
    "selfLink": "Deprecated: no longer filled in.",
    "uid": "UID tells this object from all others of all times, also from those that had its name. Read-only.",
}
LIST_META = {
    "": "ListMeta is what a list says of itself.",
    "continue": "A token with which the rest of the list is asked for; empty at its end.",
    "remainingItemCount": "How many objects the rest has, where the server knows.",
    "resourceVersion": "The version of the whole that the list shows: watches go on from it. Read-only.",
    "selfLink": "Deprecated: no longer filled in.",
}
