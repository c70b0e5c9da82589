"""How properties are tried here."""

from hypothesis import settings

# A shared machine pauses whenever it likes: how long one example takes says nothing, and the suite has its own timeout.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
