"""The classes of `trio_mix.models`, in modules that are loaded when one of their names is."""
