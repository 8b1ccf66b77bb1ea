"""Which write a plugin is looking at: short questions about Attributes that every plugin asks."""

from wherry.server.admission.plugin import Attributes


def writes(attributes: Attributes, group: str, plural: str, operation: str = "CREATE") -> bool:
    """Whether this writes the object of this kind itself, not a subresource."""
    resource = attributes.resource
    return (
        attributes.operation == operation
        and not attributes.subresource
        and resource.plural == plural
        and resource.group == group
    )
