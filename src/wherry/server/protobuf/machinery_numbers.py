"""Field numbers of metadata, of answers and of the kinds that define kinds; continues numbers.py, whose docstring tells
how a line reads."""

MACHINERY_MESSAGES = """
object.ObjectMeta name generateName namespace selfLink uid resourceVersion generation creationTimestamp~t
  deletionTimestamp~t deletionGracePeriodSeconds* labels annotations ownerReferences finalizers 17 managedFields
object.OwnerReference kind 3 name uid apiVersion controller* blockOwnerDeletion*
meta_v1.DeleteOptions gracePeriodSeconds* preconditions orphanDependents* propagationPolicy* dryRun
  ignoreStoreReadErrorWithClusterBreakingPotential*
meta_v1.Preconditions uid* resourceVersion*
meta_v1.LabelSelector matchLabels matchExpressions
meta_v1.LabelSelectorRequirement key operator values
meta_v1.FieldSelectorRequirement key operator values
object.ManagedFieldsEntry manager operation apiVersion time~t 6 fieldsType fieldsV1~j subresource
meta_v1.GroupResource group resource
meta_v1.Condition type status observedGeneration lastTransitionTime~t reason message
object.ListMeta selfLink resourceVersion continue remainingItemCount* shardInfo
object.PartialObjectMetadata metadata
meta_v1.ShardInfo selector
meta_v1.Status metadata status message reason details code
meta_v1.StatusDetails name group kind causes retryAfterSeconds uid
meta_v1.StatusCause reason message field
meta_v1.APIVersions versions serverAddressByClientCIDRs
meta_v1.ServerAddressByClientCIDR clientCIDR serverAddress
meta_v1.APIGroup name versions preferredVersion serverAddressByClientCIDRs
meta_v1.APIGroupList groups
meta_v1.GroupVersionForDiscovery groupVersion version
meta_v1.APIResourceList groupVersion resources
meta_v1.APIResource name namespaced kind verbs~w shortNames singularName categories group version storageVersionHash
apiregistration_v1.APIService metadata spec status
apiregistration_v1.APIServiceSpec service group version insecureSkipTLSVerify caBundle~b 7 groupPriorityMinimum
  versionPriority
apiregistration_v1.APIServiceStatus conditions
apiregistration_v1.APIServiceCondition type status lastTransitionTime~t reason message
apiregistration_v1.ServiceReference namespace name port*
apiextensions_v1.CustomResourceDefinition metadata spec status
apiextensions_v1.CustomResourceDefinitionSpec group 3 names scope 7 versions 9 conversion preserveUnknownFields
apiextensions_v1.CustomResourceDefinitionNames plural singular shortNames kind listKind categories
apiextensions_v1.CustomResourceDefinitionVersion name served storage schema subresources additionalPrinterColumns
  deprecated deprecationWarning* selectableFields
apiextensions_v1.CustomResourceDefinitionStatus conditions acceptedNames storedVersions observedGeneration
apiextensions_v1.CustomResourceDefinitionCondition type status lastTransitionTime~t reason message observedGeneration
apiextensions_v1.CustomResourceColumnDefinition name type format description priority jsonPath
apiextensions_v1.CustomResourceConversion strategy webhook
apiextensions_v1.WebhookConversion 2 clientConfig conversionReviewVersions
apiextensions_v1.WebhookClientConfig service caBundle~b url*
apiextensions_v1.ServiceReference namespace name path* port*
apiextensions_v1.CustomResourceSubresources status scale
apiextensions_v1.CustomResourceSubresourceStatus
apiextensions_v1.CustomResourceSubresourceScale specReplicasPath statusReplicasPath labelSelectorPath*
apiextensions_v1.CustomResourceValidation openAPIV3Schema
apiextensions_v1.SelectableField jsonPath
apiextensions_v1.ExternalDocumentation description url
apiextensions_v1.ValidationRule rule message messageExpression reason* fieldPath optionalOldSelf*
apiextensions_v1.JSONSchemaProps id $schema $ref* description type format title default~j maximum* exclusiveMaximum
  minimum* exclusiveMinimum maxLength* minLength* pattern maxItems* minItems* uniqueItems multipleOf* enum~j
  maxProperties* minProperties* required items~o allOf oneOf anyOf not properties additionalProperties~o
  patternProperties dependencies~o additionalItems~o definitions externalDocs example~j nullable
  x-kubernetes-preserve-unknown-fields* x-kubernetes-embedded-resource x-kubernetes-int-or-string
  x-kubernetes-list-map-keys x-kubernetes-list-type* x-kubernetes-map-type* x-kubernetes-validations
"""
