"""The pages, drawn with NiceGUI. Nothing here decides anything: see `router.console`."""
