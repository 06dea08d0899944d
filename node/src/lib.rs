//! Hosts experts (or a whole-model backend) and answers sessions.
