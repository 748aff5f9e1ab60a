"""Settings of the GitHub Actions backend; each is METAFLOW_<name> in the environment."""

from metaflow.metaflow_config_funcs import from_conf

# The repository whose Actions run the VMs; inferred from the git remotes when empty.
GHA_USER_REPO = from_conf("GHA_USER_REPO")
# The reusable worker that `gha inject` writes into the caller workflow.
GHA_WORKER_REPO = from_conf("GHA_WORKER_REPO", "npow/metaflow-gha")
GHA_WORKER_WORKFLOW = from_conf("GHA_WORKER_WORKFLOW", "worker.yml")
GHA_WORKER_REF = from_conf("GHA_WORKER_REF", "main")
# The caller workflow in the user's repository.
GHA_CALLER_WORKFLOW = from_conf("GHA_CALLER_WORKFLOW", "metaflow-gha.yml")
# The branch or tag on which it is dispatched; empty means the default branch.
GHA_DISPATCH_REF = from_conf("GHA_DISPATCH_REF", "")
# Whether a run gives the repository the secrets and variables that its VMs lack: auto sets what is
# missing, always also replaces what is there, never asks and sets nothing.
GHA_SYNC_SECRETS = from_conf("GHA_SYNC_SECRETS", "auto")
