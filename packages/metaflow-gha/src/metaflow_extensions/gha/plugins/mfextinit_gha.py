"""What Metaflow loads from this extension, by name only: an import error here disables every extension."""

STEP_DECORATORS_DESC = [("gha", ".gha_decorator.GhaDecorator")]
TRAMPOLINE_CLIS_DESC = [("gha", ".gha_cli.cli")]
