"""Authorization beyond roles: questions as SubjectAccessReviews, webhooks, and their configuration."""
