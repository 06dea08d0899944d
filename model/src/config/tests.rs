//! Configurations of the four families, as their checkpoints write them.
