"""The subcommands of `klein`, one module each."""
