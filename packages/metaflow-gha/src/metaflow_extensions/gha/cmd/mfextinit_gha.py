"""The `metaflow gha` commands."""

CMDS_DESC = [("gha", ".gha_cmd.cli")]
