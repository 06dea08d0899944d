//! A matrix computes the same bits however it is stored.
