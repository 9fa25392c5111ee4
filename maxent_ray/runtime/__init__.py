"""The controller at run time: ranks hold its state and reduce what they measure, an actor decides and keeps nothing."""
