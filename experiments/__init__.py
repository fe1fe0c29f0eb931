"""Questions about digitjax, one file each, with the command that answers it."""
