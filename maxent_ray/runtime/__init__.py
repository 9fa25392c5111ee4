"""The controller at run time: ranks hold its state and reduce measurements; an actor decides and keeps no state."""
